"""COCO's layout is read as it is found in the wild, and what contradicts itself is one line."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from refconv.data.scenes import make_scenes
from refconv.errors import DataError, RefconvWarning
from refconv.tasks.detection.layouts import coco_annotations

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def picture(path, width=30, height=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8)).save(path)


def content(names):
    """Two objects in the first image, none in the others."""
    return {
        "images": [{"id": 100 + n, "file_name": name, "width": 30, "height": 20} for n, name in enumerate(names)],
        "annotations": [
            {"id": 1, "image_id": 100, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 9.5, "iscrowd": 0,
             "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]]},
            {"id": 2, "image_id": 100, "category_id": 3, "bbox": [10, 5, 20, 15], "iscrowd": 1,
             "segmentation": {"size": [20, 30], "counts": [300, 300]}},
        ],
        "categories": CATEGORIES,
    }  # fmt: skip


def write(root, *, train="annotations/instances_train.json", val="annotations/instances_val.json",
          train_images="images/train", val_images="images/val"):  # fmt: skip
    for file, images, names in ((train, train_images, ["a.png", "b.png"]), (val, val_images, ["c.png"])):
        for name in names:
            picture(root / images / name)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(json.dumps(content(names)))
    return root


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "coco")


def change(folder, alter, file="annotations/instances_train.json"):
    data = json.loads((folder / file).read_text())
    data = alter(data) or data
    (folder / file).write_text(json.dumps(data))


def test_everything_is_read(folder):
    parts = coco_annotations(folder)
    train = parts.train
    assert (train.class_names, train.category_ids) == (("cat", "dog"), (3, 7))
    assert [train.paths[index] for index in range(2)] == [str(folder / "images/train" / n) for n in ("a.png", "b.png")]
    assert train.image_ids.tolist() == [100, 101]
    assert train.boxes.tolist() == [[1, 2, 4, 6], [10, 5, 30, 20]]
    assert train.labels.tolist() == [2, 1]
    assert train.areas.tolist() == [9.5, 300]
    assert train.crowd.tolist() == [False, True]
    assert train.difficult.tolist() == [False, False]
    assert [*train.rows(1)] == []
    assert train.segments is None
    assert parts.val is None
    assert len(parts.test) == 1


def test_masks_are_read_when_asked_for(folder):
    train = coco_annotations(folder, masks=True).train
    masks = train.masks(0, train.rows(0)).numpy()
    expected = np.zeros((2, 20, 30), dtype=bool)
    expected[0, 2:6, 1:4] = True
    expected[1, :, 15:] = True
    np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize(
    "names",
    [
        {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json",
         "train_images": "train2017", "val_images": "val2017"},
        {"train_images": "images/train2017", "val_images": "images/val2017",
         "train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"},
        {"train": "annotations/train.json", "val": "annotations/val.json"},
        {"train_images": "train", "val_images": "val"},
        {"train_images": "images", "val_images": "images"},
        {"train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json",
         "train_images": "train", "val_images": "valid"},
    ],
    ids=lambda names: "-".join(names.values()),
)  # fmt: skip
def test_folders_are_named_in_many_ways(tmp_path, names):
    parts = coco_annotations(write(tmp_path, **names))
    assert (len(parts.train), len(parts.test)) == (2, 1)


def test_with_val_and_test_each_is_what_it_says(folder):
    for kind in ("annotations/instances_{}.json", "images/{}"):
        copy = shutil.copytree if kind.startswith("images") else shutil.copy
        copy(folder / kind.format("val"), folder / kind.format("test"))
    parts = coco_annotations(folder)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (2, 1, 1)
    with pytest.raises(DataError, match="two validation splits"):
        coco_annotations(folder, val_split=0.5)


def test_sizes_that_are_not_declared_are_those_of_the_files(folder):
    def forget(data):
        for image in data["images"]:
            del image["width"]

    picture(folder / "images/train/b.png", width=33, height=21)
    change(folder, forget)
    assert coco_annotations(folder).train.sizes.tolist() == [[20, 30], [21, 33]]


def test_scenes_are_read(tmp_path):
    record = make_scenes(tmp_path / "s", train=3, val=1, test=2, size=48, source="digits")
    parts = coco_annotations(tmp_path / "s", masks=True)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (3, 1, 2)
    assert parts.train.class_names == record.class_names
    for index in range(3):
        rows = parts.train.rows(index)
        masks = parts.train.masks(index, rows)
        for mask, row in zip(masks, rows, strict=True):
            y, x = mask.nonzero(as_tuple=True)
            assert parts.train.boxes[row].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert parts.train.areas[row] == mask.sum()


def set_first(key, field, value):
    def alter(data):
        data[key][0][field] = value

    return alter


def drop_first(key, field):
    def alter(data):
        del data[key][0][field]

    return alter


BAD = {
    "category": (set_first("annotations", "category_id", 4), "annotation 1: category_id that is not declared; .* 4$"),
    "category as text": (set_first("annotations", "category_id", [7]), "category_id that is not declared"),
    "image": (set_first("annotations", "image_id", 5), "annotation 1: image_id that is not declared; .* 5$"),
    "no image": (drop_first("annotations", "image_id"), "annotation 1: image_id that is not declared; .* 'none'"),
    "box of three": (set_first("annotations", "bbox", [1, 2, 3]), r"annotation 1: invalid bounding box; .*\[1, 2, 3\]"),
    "box of text": (set_first("annotations", "bbox", ["1", 2, 3, 4]), "annotation 1: invalid bounding box"),
    "box not finite": (set_first("annotations", "bbox", [1, 2, float("nan"), 4]), "invalid bounding box; .*nan"),
    "no box": (drop_first("annotations", "bbox"), "annotation 1: invalid bounding box; .* None"),
    "negative box": (set_first("annotations", "bbox", [5, 5, -2, 3]), "annotation 1: box of negative size"),
    "area": (set_first("annotations", "area", -1), "annotation 1: invalid area"),
    "annotation twice": (set_first("annotations", "id", 2), "annotations: ids that occur more than once; .* 2$"),
    "image twice": (set_first("images", "id", 101), "images: ids that occur more than once; .* 101$"),
    "category twice": (set_first("categories", "id", 3), "categories: ids that occur more than once"),
    "image id": (set_first("images", "id", "a"), r"images\[0\]: id is not an integer"),
    "normalised": (
        lambda data: [entry.update(bbox=[0.1, 0.2, 0.3, 0.4]) for entry in data["annotations"]] and None,
        "the boxes look normalised; .* no side above 1 pixel among 2 boxes, in images of up to 30 x 20; multiply x",
    ),
    "no categories": (lambda data: data.update(categories=[]), "declares no categories"),
    "no file name": (drop_first("images", "file_name"), "image 100: has no file_name"),
    "missing file": (
        set_first("images", "file_name", "lost.png"),
        r"lists image files that do not exist; expected lost.png in .*images/train, found 1 of 2 missing",
    ),
    "list": (lambda data: [data], "not in COCO format; expected a list 'images'"),
    "no annotations": (lambda data: {"images": [], "categories": []}, "expected a list 'annotations'"),
    "annotations of numbers": (lambda data: data.update(annotations=[1]), "expected a list 'annotations' of objects"),
    "no images": (lambda data: data.update(images=[], annotations=[]), "no images"),
}


@pytest.mark.parametrize(("alter", "words"), BAD.values(), ids=BAD)
def test_what_contradicts_itself_is_one_line(folder, alter, words):
    change(folder, alter)
    with pytest.raises(DataError, match=words) as caught:
        coco_annotations(folder)
    assert "instances_train.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masks_that_are_missing_are_said_only_when_asked_for(folder):
    change(folder, drop_first("annotations", "segmentation"))
    assert len(coco_annotations(folder).train) == 2
    with pytest.raises(DataError, match="annotation 1: has no mask"):
        coco_annotations(folder, masks=True)


def test_masks_that_are_malformed_name_file_and_annotation(folder):
    change(folder, set_first("annotations", "segmentation", [[1, 2, 3]]))
    assert len(coco_annotations(folder).train) == 2
    with pytest.raises(DataError, match=r"instances_train\.json: annotation 1: unreadable mask"):
        coco_annotations(folder, masks=True)


@pytest.mark.parametrize("text", ["{", "\udcff", "[" * 100_000], ids=["cut", "bytes", "deep"])
def test_a_damaged_json_is_one_line(folder, text):
    (folder / "annotations/instances_train.json").write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=r"instances_train.json: invalid JSON"):
        coco_annotations(folder)


def test_a_file_in_place_of_an_image_is_said_where_sizes_are_not_declared(folder):
    (folder / "images/train/a.png").write_text("x")
    change(folder, drop_first("images", "width"))
    with pytest.raises(DataError, match=r"a\.png: unreadable image"):
        coco_annotations(folder)


def test_splits_with_other_categories_are_refused(folder):
    change(folder, set_first("categories", "name", "wolf"), "annotations/instances_val.json")
    with pytest.raises(DataError, match="other categories than the training data; .* 2 differences, the first: 7"):
        coco_annotations(folder)


def test_folders_that_are_no_coco_are_refused(tmp_path, folder):
    with pytest.raises(DataError, match="nothing to train on; .* found no such folder"):
        coco_annotations(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing to train on; .* found no json of a split"):
        coco_annotations(tmp_path)
    shutil.copy(folder / "annotations/instances_train.json", folder / "annotations/instances_train2017.json")
    with pytest.raises(DataError, match=r"several files for train; .*instances_train.json and instances_train2017"):
        coco_annotations(folder)
    (folder / "annotations/instances_train2017.json").unlink()
    (folder / "annotations/instances_val.json").unlink()
    with pytest.raises(DataError, match="nothing to test on"):
        coco_annotations(folder)


@pytest.mark.parametrize("split", ["val", "test"])
def test_images_that_are_trained_on_and_held_out_are_warned_of(tmp_path, split):
    root = write(tmp_path / "x", train_images="images", val_images="images")
    (root / "annotations/instances_test.json").write_text(json.dumps(content(["d.png"])))
    picture(root / "images/d.png")
    coco_annotations(root)
    change(root, lambda data: data["images"][0].update(file_name="./b.png"), f"annotations/instances_{split}.json")
    words = r"coco:.*x: 1 of \d images held out are trained on too, .*, the first: .*images/b\.png; results on them"
    with pytest.warns(RefconvWarning, match=words):
        coco_annotations(root)
