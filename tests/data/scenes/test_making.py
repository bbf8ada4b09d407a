"""A folder of scenes: three layouts that say the same, whole or not at all, the same bytes for the same seed."""

import hashlib
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from refconv.data.rle import decoded
from refconv.data.scenes import ScenesRecord, default_folder, make_scenes, making, scenes_folder
from refconv.data.scenes.making import SplitWriter, pools
from refconv.errors import DataError, SettingError

SMALL = {"train": 6, "val": 2, "test": 3, "size": 48, "source": "digits"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "scenes"
    make_scenes(out, **SMALL)
    return out


def content(folder):
    """Return a digest per file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_record_counts_what_was_made(folder):
    record = ScenesRecord.read(folder / "scenes.json")
    assert record.scenes == {"train": 6, "val": 2, "test": 3}
    for split, count in record.scenes.items():
        coco = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
        assert len(coco["images"]) == count
        assert len(coco["annotations"]) == record.instances[split]
    assert str(record).startswith("6 train, 2 val, 3 test scenes of 48 x 48 with ")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_three_layouts_say_the_same(folder, split):
    coco = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    listed = (folder / "voc" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    assert [f"{name}.png" for name in listed] == [image["file_name"] for image in coco["images"]]
    for image in coco["images"]:
        file = image["file_name"]
        classes = np.asarray(Image.open(folder / "masks" / split / file))
        pixels = np.asarray(Image.open(folder / "images" / split / file))
        assert pixels.shape == (image["height"], image["width"], 3)
        assert classes.shape == pixels.shape[:2]
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "voc" / "JPEGImages" / file)), pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "voc" / "SegmentationClass" / file)), classes)
        objects = np.asarray(Image.open(folder / "voc" / "SegmentationObject" / file))
        things = ElementTree.parse(folder / "voc" / "Annotations" / f"{file[:-4]}.xml").findall("object")
        annotations = [entry for entry in coco["annotations"] if entry["image_id"] == image["id"]]
        assert len(things) == len(annotations) == objects.max(initial=0)
        for number, (thing, entry) in enumerate(zip(things, annotations, strict=True), 1):
            mask = decoded(entry["segmentation"]["counts"], *entry["segmentation"]["size"])
            np.testing.assert_array_equal(mask, objects == number)
            assert (classes[mask] == entry["category_id"]).all()
            assert mask.sum() == entry["area"]
            x, y, width, height = entry["bbox"]
            assert mask[y : y + height, x : x + width].sum() == entry["area"]
            corners = [int(thing.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")]
            assert corners == [x + 1, y + 1, x + width, y + height]
            assert thing.findtext("name") == names[entry["category_id"]]


def test_masks_have_colours_and_names(folder):
    mask = Image.open(folder / "masks" / "train" / "train_000000.png")
    assert mask.mode == "P"
    assert mask.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    assert (folder / "classes.txt").read_text().split() == ["background", *"0123456789"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(folder, tmp_path):
    make_scenes(tmp_path / "again", **SMALL)
    assert content(tmp_path / "again") == content(folder)
    make_scenes(tmp_path / "other", **SMALL, seed=1)
    assert content(tmp_path / "other")["images/train/train_000000.png"] not in content(folder).values()


def test_a_larger_folder_begins_with_a_smaller_one(folder, tmp_path):
    make_scenes(tmp_path / "less", **{**SMALL, "train": 2, "val": 0})
    less, more = content(tmp_path / "less"), content(folder)
    pictures = [name for name in less if name.endswith((".png", ".xml"))]
    assert len(pictures) == 5 * 6  # image, mask and four of VOC's for each of 2 + 3 scenes
    assert {name: less[name] for name in pictures} == {name: more[name] for name in pictures}
    assert not (tmp_path / "less" / "images" / "val").exists()


def test_scenes_may_be_empty(tmp_path):
    record = make_scenes(tmp_path / "scenes", train=1, val=0, test=1, size=32, items=(0, 0), source="digits")
    assert record.instances == {"train": 0, "test": 0}
    coco = json.loads((tmp_path / "scenes" / "annotations" / "instances_train.json").read_text())
    assert (len(coco["images"]), coco["annotations"]) == (1, [])


def test_what_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(SplitWriter, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / "scenes", **SMALL)
    assert not [*tmp_path.iterdir()]


def test_a_folder_is_replaced_only_when_told_so(tmp_path):
    out = tmp_path / "scenes"
    make_scenes(out, **SMALL)
    with pytest.raises(DataError, match="exists already"):
        make_scenes(out, **SMALL)
    make_scenes(out, **{**SMALL, "val": 0}, force=True)
    assert not (out / "images" / "val").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    with pytest.raises(DataError, match="holds no scenes"):
        make_scenes(tmp_path / "letters", **SMALL, force=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "x"


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        make_scenes(tmp_path / "file" / "scenes", **SMALL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": 0}, "train: impossible; expected at least one"),
        ({"test": -1}, "test: impossible; expected 0 or more"),
        ({"seed": -1}, "seed: impossible"),
        ({"size": 16}, "size: impossible; expected 32 to 1024 pixels, found 16"),
        ({"items": (3, 2)}, "items: impossible; .* found 3..2"),
        ({"items": (1, 300)}, "items: impossible"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(tmp_path, settings, words):
    with pytest.raises(SettingError, match=words):
        make_scenes(tmp_path / "scenes", **{**SMALL, **settings})


def test_pools_share_no_item():
    pool, names = pools("digits")
    assert names == tuple("0123456789")
    pictures = {split: [part[index].pixels.tobytes() for index in range(len(part))] for split, part in pool.items()}
    assert [len(part) for part in pool.values()] == [1294, 144, 359]
    together = [picture for part in pictures.values() for picture in part]
    # The digits hold no two equal images, so equal bytes would be one image in two pools.
    assert len({*together}) == len(together) == 1797


def test_items_are_what_is_bright():
    item = pools("digits")[0]["train"][0]
    np.testing.assert_array_equal(item.mask, item.pixels >= 0.25)
    assert 1 <= item.label <= 10


def test_narrow_gaps_belong_to_fashion_items_and_wide_ones_do_not(idx_folder, tmp_path):
    pool, names = pools("fashion-mnist", str(idx_folder(tmp_path / "fashion")))
    assert len(names) == 10
    part = pool["test"]
    part._images[0] = 0
    part._images[0, :, 4:24] = 200
    part._images[0, 10, 10] = 0  # a dark pixel
    part._images[0, 14:20, 14:20] = 0  # a hole
    mask = part[0].mask
    assert mask[10, 10]
    assert not mask[15:19, 15:19].any()
    assert mask[0, 4:24].all()
    assert mask[:, 0:4].sum() == 0


def test_an_unknown_source_is_refused():
    with pytest.raises(SettingError, match="fashion-mnist or digits, found 'cifar10'"):
        pools("cifar10")


def test_where_fashion_mnist_is_missing_the_remedy_names_digits(monkeypatch):
    def missing(root):
        raise DataError("cannot be downloaded", where="fashion-mnist", remedy="install it")

    monkeypatch.setitem(making.SOURCES, "fashion-mnist", missing)
    with pytest.raises(DataError, match=r"install it, or compose digits: --source digits"):
        pools("fashion-mnist")


@pytest.fixture
def made(tmp_path):
    make_scenes(tmp_path / "made", train=1, val=0, test=1, size=32, source="digits")
    return tmp_path / "made"


def test_scenes_are_found_by_either_name(made):
    assert scenes_folder("scenes", str(made)) == made
    assert scenes_folder(f"scenes:{made}") == made
    assert scenes_folder("scenes:made", str(made.parent)) == made


def test_scenes_without_a_folder_are_in_the_cache(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "refconv" / "scenes"
    default_folder().parent.mkdir()
    made.rename(default_folder())
    assert scenes_folder("scenes") == default_folder()


def test_where_there_are_none_the_remedy_is_the_command(tmp_path):
    with pytest.raises(DataError, match=r"no scenes found; expected scenes.json; refconv data scenes --out .*nowhere"):
        scenes_folder(f"scenes:{tmp_path / 'nowhere'}")
