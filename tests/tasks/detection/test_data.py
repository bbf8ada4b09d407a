"""Images with their objects, in batches: nothing lost, nothing invented, each sample a function of its coordinates."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data.augmentation import Augmentation
from refconv.data.scenes import make_scenes
from refconv.errors import DataError
from refconv.tasks.detection.annotations import decoded, encoded
from refconv.tasks.detection.data import LARGEST_DEFAULT, Augment, DetectionData, possible_overlaps
from refconv.tasks.detection.task import Detection

FULL = Augmentation(hflip=0.5, color_jitter=0.3, scale=(0.3, 1.0))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp("detection") / "scenes"
    make_scenes(out, train=12, val=0, test=5, size=48, source="digits")
    return out


def opened(scenes, **settings):
    return DetectionData(f"scenes:{scenes}", **settings)


def epoch(data, *, epoch=0, seed=0, **settings):
    batches = data.train_batches(seed=seed, epoch=epoch, batch_size=4, **settings)
    return [pair for samples, targets in batches for pair in zip(samples, targets, strict=True)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for (image, target), (other_image, other_target) in zip(ours, theirs, strict=True):
        assert torch.equal(image, other_image)
        assert target.keys() == other_target.keys()
        assert all(torch.equal(target[key], other_target[key]) for key in target)


def test_the_facts_are_those_of_the_annotations(scenes):
    info = opened(scenes, val_split=0.25).info
    assert (info.num_classes, info.class_names) == (10, tuple("0123456789"))
    assert (info.in_chans, info.input_size) == (3, (3, 48, 48))
    assert (info.mean, info.std) == ((0,) * 3, (1,) * 3)
    assert (info.train_size, info.val_size, info.test_size) == (9, 3, 5)
    assert opened(scenes, img_size=96).info.input_size == (3, 96, 96)


def test_evaluation_gives_what_the_annotations_say(scenes):
    data = opened(scenes, masks=True)
    coco = json.loads((scenes / "annotations/instances_test.json").read_text())
    seen = []
    for images, targets in data.eval_batches("test", batch_size=2):
        for image, target in zip(images, targets, strict=True):
            entry = coco["images"][len(seen)]
            assert target["image_id"] == entry["id"]
            pixels = np.asarray(Image.open(scenes / "images/test" / entry["file_name"]))
            assert image.dtype == torch.float32
            np.testing.assert_array_equal((255 * image).round().byte().permute(1, 2, 0).numpy(), pixels)
            things = [thing for thing in coco["annotations"] if thing["image_id"] == entry["id"]]
            boxes = [[x, y, x + w, y + h] for x, y, w, h in (thing["bbox"] for thing in things)]
            assert target["boxes"].tolist() == boxes
            assert target["labels"].tolist() == [thing["category_id"] for thing in things]
            assert target["area"].tolist() == [thing["area"] for thing in things]
            assert target["masks"].flatten(1).sum(1).tolist() == [thing["area"] for thing in things]
            assert target["iscrowd"].tolist() == [0] * len(things)
            size = pixels.shape[:2]
            texts = [encoded(thing["segmentation"], *size, where="here") for thing in things]
            assert [one["counts"] for one in target["runs"]] == texts  # as they were read, not encoded again
            masks = [decoded(text, *size, where="here") for text in texts]
            np.testing.assert_array_equal(target["masks"].numpy(), np.stack(masks))
            seen.append(entry["id"])
    assert seen == [1, 2, 3, 4, 5]


def test_types_are_those_of_torchvision_even_without_objects(tmp_path):
    folder = own_coco(tmp_path, boxes={1: [[1, 1, 4, 4]], 2: []}, masks=True)
    data = DetectionData(f"coco:{folder}", masks=True, augmentation=FULL)
    for _, target in [*epoch(data), *epoch(data, epoch=1)]:
        count = len(target["labels"])
        assert target["boxes"].shape == (count, 4)
        assert target["masks"].shape[0] == target["area"].shape[0] == target["iscrowd"].shape[0] == count
        types = {key: value.dtype for key, value in target.items()}
        assert types == {
            "boxes": torch.float32,
            "labels": torch.int64,
            "area": torch.float32,
            "masks": torch.uint8,
            "iscrowd": torch.int64,
            "difficult": torch.int64,
            "image_id": torch.int64,
        }


def test_epochs_differ_and_repeat_bit_for_bit(scenes):
    first, again = (epoch(opened(scenes, augmentation=FULL, masks=True)) for _ in range(2))
    assert_same(first, again)
    later = epoch(opened(scenes, augmentation=FULL), epoch=1)
    by_id = {int(target["image_id"]): image for image, target in first}
    assert any(image.shape != by_id[int(target["image_id"])].shape for image, target in later)


def test_a_run_resumes_in_the_middle_of_an_epoch(scenes):
    data = opened(scenes, augmentation=FULL)
    assert_same(epoch(data)[8:], epoch(data, first_batch=2))


@pytest.mark.slow
def test_workers_change_nothing(scenes):
    settings = {"augmentation": FULL, "masks": True}
    assert_same(epoch(opened(scenes, **settings)), epoch(opened(scenes, **settings, workers=2)))


def test_processes_share_the_images(scenes):
    data = opened(scenes)
    ids = [
        [int(target["image_id"]) for _, targets in data.eval_batches("test", batch_size=2, rank=rank, world_size=3)
         for target in targets]
        for rank in range(3)
    ]  # fmt: skip
    assert ids == [[1, 4], [2, 5], [3]]


def test_a_flip_takes_boxes_and_masks_along(scenes):
    plain, flipped = (
        {int(target["image_id"]): (image, target) for image, target in epoch(opened(scenes, **settings, masks=True))}
        for settings in ({}, {"augmentation": Augmentation(hflip=1.0)})
    )
    for number, (image, target) in plain.items():
        other_image, other = flipped[number]
        assert torch.equal(other_image, image.flip(-1))
        assert torch.equal(other["masks"], target["masks"].flip(-1))
        x0, y0, x1, y1 = target["boxes"].T
        torch.testing.assert_close(other["boxes"], torch.stack([48 - x1, y0, 48 - x0, y1], 1))
        assert torch.equal(other["area"], target["area"])


def test_colours_change_and_objects_do_not(scenes):
    plain, jittered = (
        epoch(opened(scenes, **settings)) for settings in ({}, {"augmentation": Augmentation(color_jitter=0.5)})
    )
    for (image, target), (other_image, other) in zip(plain, jittered, strict=True):
        assert torch.equal(target["boxes"], other["boxes"])
        assert not torch.equal(image, other_image)


def numbered(height, width):
    """Return an image whose pixels say where they come from: row and column in the first two channels."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)]).byte()


@pytest.mark.parametrize("hflip", [0.0, 1.0])
def test_a_crop_keeps_what_it_shows_where_it_is(hflip):
    augment = Augment(Augmentation(hflip=hflip, scale=(0.2, 0.9)))
    height, width = 100, 120
    before = torch.tensor([[5.0, 10, 45, 40], [60, 50, 110, 95], [30, 30, 70, 70], [50.2, 50.2, 50.9, 50.9]])
    masks = torch.zeros(4, height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, before.floor().int().tolist(), strict=True):
        mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 1
    objects = {"boxes": before, "labels": torch.arange(1, 5), "area": torch.full((4,), 8.0), "masks": masks}
    cropped = 0
    torch.manual_seed(0)
    for _ in range(30):
        image, after = augment(numbered(height, width), objects)
        rows, columns = image[0, :, 0].int(), image[1, 0].int()
        (top, bottom), (left, right) = ((int(x.min()), int(x.max()) + 1) for x in (rows, columns))
        assert image.shape == (3, bottom - top, right - left)
        cropped += image.shape[1:] != (height, width)
        whole = (bottom - top, right - left) == (height, width)
        centres = (before[:, :2] + before[:, 2:]) / 2
        inside = (centres > torch.tensor([left, top])).all(1) & (centres < torch.tensor([right, bottom])).all(1)
        low, high = torch.tensor([left, top]), torch.tensor([right, bottom])
        expected = torch.cat([before[:, :2].maximum(low) - low, before[:, 2:].minimum(high) - low], 1)
        if hflip:
            expected[:, [0, 2]] = (right - left) - expected[:, [2, 0]]
        kept = inside | whole
        assert after["labels"].tolist() == (torch.arange(1, 5)[kept]).tolist()
        assert len(after["labels"]) > 0
        torch.testing.assert_close(after["boxes"], expected[kept], atol=1e-4, rtol=0)
        sides, full = expected[kept, 2:] - expected[kept, :2], before[kept, 2:] - before[kept, :2]
        torch.testing.assert_close(after["area"], 8 * sides.prod(1) / full.prod(1))
        shown = masks[kept][:, top:bottom, left:right]
        assert torch.equal(after["masks"], shown.flip(-1) if hflip else shown)
    assert 15 < cropped < 30


def test_overlaps_that_are_left_out_cannot_come_about():
    # Every crop of whole pixels with sides of at least 12 in an image of 20 x 20, against one box.
    for side in (3, 6, 9, 12):
        box = torch.tensor([[4.0, 4, 4 + side, 4 + side]])
        best = 0.0
        for height in range(12, 21):
            for width in range(12, 21):
                for top in range(20 - height + 1):
                    for left in range(20 - width + 1):
                        rows = min(top + height, 4 + side) - max(top, 4)
                        columns = min(left + width, 4 + side) - max(left, 4)
                        shared = max(rows, 0) * max(columns, 0)
                        best = max(best, shared / (height * width + side * side - shared))
        expected = [overlap for overlap in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9) if overlap <= best]
        assert possible_overlaps(box, 12 * 12) == expected
    assert possible_overlaps(torch.zeros(0, 4), 144) == []
    assert possible_overlaps(torch.tensor([[0.0, 0, 1, 1]]), 0) == []


def test_no_augmentation_is_left_without_effect():
    # A new setting of augmentation must be taken over or refused by the task; here it would be neither.
    taken = {"hflip", "vflip", "color_jitter", "scale", "ratio"}
    names = {"aa" if field.name == "auto_augment" else field.name for field in dataclasses.fields(Augmentation)}
    assert names - taken <= Detection.without_effect.keys()


def own_coco(folder, *, boxes, masks=False, crowd=(), size=(20, 16), alter=None):
    """Write a folder with images 1 and 2, or as many as there are entries; the first is tested on too."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    height, width = size
    coco = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "thing"}]}
    for number, placed in boxes.items():
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        coco["images"].append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for x, y, w, h in placed:
            entry = {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": 3, "bbox": [x, y, w, h]}
            entry["iscrowd"] = int(entry["id"] in crowd)
            if masks:
                entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            coco["annotations"].append(entry)
    if alter:
        alter(coco)
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco))
    return folder


def test_images_without_objects_train(tmp_path):
    folder = own_coco(tmp_path, boxes={1: [[1, 1, 4, 4]], 2: [], 3: []})
    data = DetectionData(f"coco:{folder}", augmentation=FULL)
    counts = sorted(len(target["labels"]) for _, target in epoch(data))
    assert counts == [0, 0, 1]


def test_crowds_are_judged_apart_and_never_trained_on(tmp_path):
    folder = own_coco(tmp_path, boxes={1: [[1, 1, 4, 4], [0, 0, 16, 20]], 2: [[2, 2, 3, 3]]}, crowd=(2,))
    data = DetectionData(f"coco:{folder}")
    trained = {int(target["image_id"]): target["boxes"].tolist() for _, target in epoch(data)}
    assert trained == {1: [[1, 1, 5, 5]], 2: [[2, 2, 5, 5]]}
    (images, targets), *_ = data.eval_batches("test", batch_size=2)
    assert [target["iscrowd"].tolist() for target in targets] == [[0, 1], [0]]
    assert len(images) == 2


def test_images_of_all_modes_and_sizes_are_colour(tmp_path):
    sizes = {1: ("L", (30, 20)), 2: ("RGBA", (16, 16)), 3: ("P", (11, 40)), 4: ("CMYK", (24, 10)), 5: ("1", (9, 9))}

    def alter(coco):
        for image in coco["images"]:
            mode, (width, height) = sizes[image["id"]]
            name = f"{image['id']}.{'jpg' if mode == 'CMYK' else 'png'}"
            Image.new("RGB", (width, height), (200, 30, 60)).convert(mode).save(tmp_path / "images" / name)
            image.update(width=width, height=height, file_name=name)

    own_coco(tmp_path, boxes={number: [[1, 1, 4, 4]] for number in sizes}, alter=alter)
    data = DetectionData(f"coco:{tmp_path}")
    (images, _), *_ = data.eval_batches("test", batch_size=5)
    assert [image.shape for image in images] == [(3, height, width) for _, (width, height) in sizes.values()]
    assert all(image.min() >= 0 and image.max() <= 1 for image in images)
    torch.testing.assert_close(images[1][:, 3, 3], torch.tensor([200, 30, 60]) / 255)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_image_of_another_size_is_one_line(tmp_path, workers):
    own_coco(tmp_path, boxes={1: [[1, 1, 4, 4]]})
    Image.new("RGB", (20, 16)).save(tmp_path / "images" / "1.png")
    data = DetectionData(f"coco:{tmp_path}", workers=workers)
    with pytest.raises(DataError, match=r"1\.png: image of another size .* expected 16 x 20 pixels, found 20 x 16"):
        epoch(data)


@pytest.mark.parametrize(("width", "height", "bright"), [(16, 20, (0, 15)), (20, 16, (0, 0))])
def test_the_annotated_size_says_whether_boxes_are_those_of_the_upright_image(tmp_path, width, height, bright):
    own_coco(
        tmp_path, boxes={1: [[1, 1, 4, 4]]}, alter=lambda coco: coco["images"][0].update(width=width, height=height)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right brings it upright: the upper left corner becomes the upper right one
    image = Image.new("L", (20, 16))
    image.putpixel((0, 0), 255)
    image.save(tmp_path / "images" / "1.png", exif=exif)
    (images, _), *_ = DetectionData(f"coco:{tmp_path}").eval_batches("test", batch_size=1)
    assert images[0].shape == (3, height, width)
    assert images[0][0].nonzero().tolist() == [list(bright)]


def test_a_file_that_is_no_image_is_one_line(tmp_path):
    own_coco(tmp_path, boxes={1: [[1, 1, 4, 4]]})
    (tmp_path / "images" / "1.png").write_text("x")
    with pytest.raises(DataError, match=r"1\.png: unreadable image"):
        epoch(DetectionData(f"coco:{tmp_path}"))


def test_without_objects_there_is_nothing_to_train_on(tmp_path):
    own_coco(tmp_path, boxes={1: [], 2: []})
    with pytest.raises(DataError, match="no objects to train on"):
        DetectionData(f"coco:{tmp_path}")


def test_large_images_are_looked_at_in_a_moderate_size(tmp_path):
    own_coco(tmp_path, boxes={1: [[1, 1, 4, 4]]}, size=(700, 20))
    assert DetectionData(f"coco:{tmp_path}").info.input_size == (3, LARGEST_DEFAULT, LARGEST_DEFAULT)


def test_the_validation_split_is_by_image_and_whatever_the_seed(scenes):
    data = opened(scenes, val_split=0.25)
    val = {int(target["image_id"]) for _, targets in data.eval_batches("val", batch_size=4) for target in targets}
    train = {int(target["image_id"]) for seed in (0, 1) for _, target in epoch(data, seed=seed)}
    assert len(val) == 3
    assert not val & train
    with pytest.raises(DataError, match="leaves nothing to validate on"):
        opened(scenes, val_split=0.01)


def test_voc_gives_the_same_objects(scenes):
    coco, voc = opened(scenes), DetectionData(f"voc:{scenes / 'voc'}")
    assert voc.info.class_names == coco.info.class_names
    for (image, target), (other_image, other) in zip(epoch(coco), epoch(voc), strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(target["boxes"], other["boxes"])
        assert torch.equal(target["labels"], other["labels"])
    assert not coco.has_masks


def test_difficult_objects_are_not_judged(scenes, tmp_path):
    voc = shutil.copytree(scenes / "voc", tmp_path / "voc")
    for file in (voc / "Annotations").glob("*.xml"):
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    data = DetectionData(f"voc:{voc}")
    for _, targets in data.eval_batches("test", batch_size=5):
        assert all(target["difficult"].tolist() == [1] + [0] * (len(target["labels"]) - 1) for target in targets)
        assert not any(target["iscrowd"].any() for target in targets)
    easy = sum(len(target["labels"]) for _, target in epoch(opened(scenes)))
    assert sum(len(target["labels"]) for _, target in epoch(data)) == easy - 12


@pytest.mark.parametrize("name", ["digits", "coco", "voc:", "folder:x"])
def test_other_data_is_refused(name):
    with pytest.raises(DataError, match=rf"{name}: no data for detection; expected scenes, coco:FOLDER or voc:FOLDER"):
        DetectionData(name)


def test_a_bare_folder_gets_a_hint(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="write coco:pictures or voc:pictures to read that folder"):
        DetectionData("pictures", root=str(tmp_path))


def test_a_vertical_flip_moves_boxes_and_masks_with_the_image(scenes):
    turned = opened(scenes, masks=True, augmentation=Augmentation(vflip=1.0))
    for (image, target), (other, other_target) in zip(epoch(turned), epoch(opened(scenes, masks=True)), strict=True):
        height = image.shape[-2]
        assert torch.equal(image.flip(-2), other)
        assert torch.equal(target["masks"].flip(-2), other_target["masks"])
        boxes = other_target["boxes"].clone()
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
        assert torch.equal(target["boxes"], boxes)


def test_repetitions_of_an_image_are_augmented_anew(scenes):
    first, second, *_ = epoch(opened(scenes, augmentation=FULL), repeats=2)
    assert first[1]["image_id"] == second[1]["image_id"]
    assert first[0].shape != second[0].shape or not torch.equal(first[0], second[0])
