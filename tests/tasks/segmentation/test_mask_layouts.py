"""Where images and masks lie: each layout as its users have it, and one line for what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masked_folders import NAMES, scene, write_cityscapes, write_masks, write_voc
from refconv.data.scenes import make_scenes
from refconv.errors import DataError, RefconvWarning
from refconv.tasks.segmentation.masks import CITYSCAPES_CLASSES, VOC_CLASSES, open_masks


def names(part):
    return [(Path(part.images[index]).name, Path(part.masks[index]).name) for index in range(len(part))]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def own(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "data")


def test_folders_of_images_and_masks(shared):
    found = open_masks(f"masks:{shared}")
    assert found.class_names == NAMES
    assert [len(part) for part in (found.parts.train, found.parts.val, found.parts.test)] == [8, 3, 3]
    assert names(found.parts.train)[:2] == [("00.png", "00.png"), ("01.png", "01.png")]
    np.testing.assert_array_equal(found.parts.train.classes(3, count=3, ignored=255), scene(3)[1])


def test_a_single_held_out_folder_is_tested_on(own):
    shutil.rmtree(own / "images/test")
    found = open_masks(f"masks:{own}", val_split=0.2)
    assert found.parts.val is None
    assert names(found.parts.test) == [(f"{n:02}.png",) * 2 for n in range(3)]


def test_images_may_lie_deeper_and_have_another_ending(own):
    (own / "images/train/deep").mkdir()
    (own / "masks/train/deep").mkdir()
    Image.fromarray(scene(0)[0]).save(own / "images/train/deep/00.jpg")
    (own / "masks/train/00.png").rename(own / "masks/train/deep/00.png")
    (own / "images/train/00.png").unlink()
    found = open_masks(f"masks:{own}").parts.train
    assert len(found) == 8
    assert names(found)[-1] == ("00.jpg", "00.png")


def test_a_folder_may_be_named_relative_to_a_root(shared):
    assert open_masks("masks:data", root=str(shared.parent)).class_names == NAMES


def spoil(folder, *, remove=(), write=(), rename=()):
    for name in remove:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in write:
        (folder / name).write_text(text)
    for old, new in rename:
        (folder / old).rename(folder / new)


SPOILED = {
    "no masks": ({"remove": ["masks"]}, r"no training masks; expected a folder masks/train, found classes\.txt"),
    "no training": ({"remove": ["images/train"]}, "no training images; expected a folder images/train"),
    "not held out": ({"remove": ["images/val", "images/test"]}, "nothing to test on"),
    "a mask is missing": (
        {"remove": ["masks/train/03.png", "masks/train/05.png"]},
        r"images/train/03\.png: 2 of 8 images have no mask; expected .*masks/train/03\.\*; add the mask or remove",
    ),
    "an image is missing": (
        {"remove": ["images/test/02.png"]},
        r"masks/test/02\.png: 1 of 3 masks have no image; expected .*images/test/02\.\*",
    ),
    "two of a name": ({"write": [("images/train/00.jpg", "")]}, r"two files of one name; found .*00\.jpg"),
    "no images": ({"remove": [f"images/val/{n:02}.png" for n in range(3)]}, "images/val: no images"),
    "one class": ({"write": [("classes.txt", "all\n")]}, r"not a list of class names; expected 2 to 255 .*found 1"),
    "twice": ({"write": [("classes.txt", "a\nb\na\n")]}, "two classes of the name 'a'"),
    "nameless": ({"write": [("classes.txt", "a\n\nb\n")]}, "a class without a name"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_is_not_whole_is_refused(case, own):
    changes, words = SPOILED[case]
    spoil(own, **changes)
    with pytest.raises(DataError, match=words):
        open_masks(f"masks:{own}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits", "digits: no data for segmentation; expected scenes, masks:FOLDER, voc:FOLDER, cityscapes:FOLDER"),
        ("masks:nowhere", "masks:nowhere: no such folder"),
        ("coco:somewhere", "no data for segmentation"),
        ("scenes:nowhere", "nowhere: no scenes found"),
    ],
)
def test_unknown_data_is_refused(name, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        open_masks(name)


def test_a_bare_folder_gets_a_hint(shared):
    with pytest.raises(DataError, match=f"write masks:{shared}"):
        open_masks(str(shared))


@pytest.mark.parametrize("below", ["", "VOCdevkit/VOC2012"])
def test_pascal_voc(below, tmp_path):
    write_voc(tmp_path / below, splits={"train": 4, "val": 2})
    found = open_masks(f"voc:{tmp_path}", val_split=0.25)
    assert found.class_names == VOC_CLASSES
    assert found.parts.val is None
    assert names(found.parts.test) == [("val_00.jpg", "val_00.png"), ("val_01.jpg", "val_01.png")]
    classes = found.parts.train.classes(0, count=21, ignored=255)
    assert set(np.unique(classes)) == {0, 1, 2, 255}


def test_a_test_list_without_masks_is_not_tested_on(tmp_path):
    write_voc(tmp_path, splits={"train": 4, "val": 2})
    (tmp_path / "ImageSets/Segmentation/test.txt").write_text("2008_000006\n")
    assert len(open_masks(f"voc:{tmp_path}").parts.test) == 2


SPOILED_VOC = {
    "nothing": ({"remove": ["SegmentationClass"]}, "no masks in Pascal VOC format; .*found ImageSets, JPEGImages"),
    "list": ({"remove": ["ImageSets/Segmentation/train.txt"]}, "no list of training images"),
    "empty": ({"write": [("ImageSets/Segmentation/val.txt", "\n")]}, r"val\.txt: the list of images is empty"),
    "image": ({"remove": ["JPEGImages/val_01.jpg"]}, r"val\.txt: 1 of 2 names have no file; .*JPEGImages/val_01"),
    "mask": ({"remove": ["SegmentationClass/train_02.png"]}, r"1 of 4 names have no file; .*Class/train_02"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED_VOC)
def test_an_incomplete_voc_is_refused(case, tmp_path):
    changes, words = SPOILED_VOC[case]
    spoil(write_voc(tmp_path, splits={"train": 4, "val": 2}), **changes)
    with pytest.raises(DataError, match=words):
        open_masks(f"voc:{tmp_path}")


def test_cityscapes_numbers_become_its_19_classes(tmp_path):
    found = open_masks(f"cityscapes:{write_cityscapes(tmp_path)}")
    assert found.class_names == tuple(CITYSCAPES_CLASSES)
    assert len(found.class_names) == 19
    assert (len(found.parts.train), found.parts.val, len(found.parts.test)) == (2, None, 2)
    expected = np.array([0, 13, 255])[scene(0, width=64)[1]]  # road, car, and a class to ignore
    np.testing.assert_array_equal(found.parts.train.classes(0, count=19, ignored=255), expected)


def test_cityscapes_with_gaps_is_refused(tmp_path):
    found = open_masks(f"cityscapes:{write_cityscapes(tmp_path, numbers=(7, 26, 34))}")
    with pytest.raises(DataError, match="expected one of 35 known numbers, found 34 in"):
        found.parts.train.classes(0, count=19, ignored=255)
    next(tmp_path.rglob("val/bonn/*labelIds.png")).unlink()
    with pytest.raises(
        DataError, match=r"bonn_000000_000019_leftImg8bit\.png: an image without a mask; expected .*gtFine"
    ):
        open_masks(f"cityscapes:{tmp_path}")
    with pytest.raises(DataError, match="no images; expected leftImg8bit/train/CITY"):
        open_masks(f"cityscapes:{tmp_path / 'gtFine'}")


def test_scenes_in_all_their_layouts_are_the_same_masks(tmp_path):
    folder = tmp_path / "scenes"
    make_scenes(folder, train=3, val=2, test=2, size=32, source="digits")
    ways = open_masks("scenes", root=str(folder)), open_masks(f"scenes:{folder}"), open_masks(f"masks:{folder}")
    ways += (open_masks(f"voc:{folder}"),)
    assert {way.class_names for way in ways} == {("background", *map(str, range(10)))}
    for way in ways:
        assert [len(part) for part in (way.parts.train, way.parts.val, way.parts.test)] == [3, 2, 2]
        np.testing.assert_array_equal(
            way.parts.test.classes(1, count=11, ignored=255), ways[0].parts.test.classes(1, count=11, ignored=255)
        )


def test_images_that_are_trained_on_and_held_out_are_warned_of(tmp_path):
    home = write_voc(tmp_path, splits={"train": 4, "val": 2})
    with (home / "ImageSets/Segmentation/val.txt").open("a") as file:
        file.write("train_03\n")
    words = r"voc:.*: 1 of 3 images held out are trained on too, .*, the first: .*train_03\.jpg; results on them"
    with pytest.warns(RefconvWarning, match=words):
        open_masks(f"voc:{home}")


def test_copies_and_links_among_folders_of_masks_are_warned_of(tmp_path):
    write_masks(tmp_path / "own", splits={"train": 3, "test": 2})
    for kind in ("images", "masks"):
        trained = min((tmp_path / "own" / kind / "train").iterdir())
        shutil.copy(trained, tmp_path / "own" / kind / "test" / trained.name)
    with pytest.warns(RefconvWarning, match=r"masks:.*own: 1 of 2 images held out are trained on too"):
        open_masks(f"masks:{tmp_path / 'own'}")
    write_cityscapes(tmp_path / "streets")
    towns = tmp_path / "streets/leftImg8bit"
    trained, held = (min((towns / split).rglob("*.png")) for split in ("train", "val"))
    held.unlink()
    held.symlink_to(trained)
    with pytest.warns(RefconvWarning, match=r"cityscapes:.*streets: 1 of \d images held out are trained on too"):
        open_masks(f"cityscapes:{tmp_path / 'streets'}")
