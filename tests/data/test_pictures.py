"""Pictures: found in any folder, read in 8 bits whatever their mode, refused in one line where they cannot be."""

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data.pictures import PHOTOGRAPHS, open_pictures
from refconv.errors import DataError, RefconvWarning


def write(path, size=(20, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def test_photographs_are_split_by_image_and_none_is_missing():
    pytest.importorskip("skimage")
    parts = open_pictures("photographs", None)
    names = [part.names for part in (parts.train, parts.val, parts.test)]
    assert [len(found) for found in names] == [6, 1, 2]
    assert len({name for found in names for name in found}) == 9
    for part in (parts.train, parts.val, parts.test):
        for index, size in enumerate(part.sizes.tolist()):
            assert list(part.values(index, 3).shape) == [3, *size]
            assert min(size) >= 300


def test_photographs_of_another_scikit_image_are_said_to_be_missing(monkeypatch, tmp_path):
    skimage = pytest.importorskip("skimage")
    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "skimage" / "__init__.py"))
    with pytest.raises(DataError, match="does not contain the photographs.*9 missing"):
        open_pictures("photographs", None)


def test_photographs_have_a_validation_split_of_their_own():
    pytest.importorskip("skimage")
    assert PHOTOGRAPHS.val is not None
    with pytest.raises(DataError, match="two validation splits"):
        open_pictures("photographs", None, val_split=0.1)


def test_folder_is_searched_at_any_depth_and_links_are_followed(tmp_path):
    write(tmp_path / "data" / "b.png")
    write(tmp_path / "data" / "deep" / "er" / "a.JPG")
    write(tmp_path / "elsewhere" / "c.png")
    write(tmp_path / "data" / ".hidden.png")
    (tmp_path / "data" / "notes.txt").write_text("no image")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    parts = open_pictures("images:data", str(tmp_path))
    assert parts.train.names == ("b.png", "deep/er/a.JPG", "link/c.png")
    assert parts.train.sizes.tolist() == [[16, 20]] * 3
    assert parts.val is None
    assert parts.test is None


def test_folder_without_train_can_be_tested_on(tmp_path):
    write(tmp_path / "a.png")
    parts = open_pictures(f"images:{tmp_path}", None, for_training=False)
    assert parts.train is None
    assert parts.test.names == ("a.png",)


def test_training_pictures_are_left_out_where_nobody_trains(tmp_path):
    for name in ("train", "val", "test"):
        write(tmp_path / name / "a.png")
    parts = open_pictures(f"images:{tmp_path}", None, for_training=False)
    assert parts.train is None
    assert (len(parts.val.names), len(parts.test.names)) == (1, 1)


@pytest.mark.parametrize(
    ("folders", "val", "test"),
    [(["train"], False, None), (["train", "val"], False, "val"), (["train", "val", "test"], True, "test")],
)
def test_folders_train_val_and_test_are_the_splits(folders, val, test, tmp_path):
    for name in folders:
        write(tmp_path / name / "inside" / f"{name}.png")
    parts = open_pictures(f"images:{tmp_path}", None)
    assert parts.train.names == ("inside/train.png",)
    assert (parts.val is not None) == val
    assert (parts.test and parts.test.names[0]) == (test and f"inside/{test}.png")


def test_pictures_that_are_trained_on_and_held_out_are_warned_of(tmp_path):
    for place in ("train/a.png", "train/b.png", "test/a.png"):
        write(tmp_path / place)
    with pytest.warns(RefconvWarning, match=r"images:.*: 1 of 1 images held out are trained on too, .*test/a\.png"):
        open_pictures(f"images:{tmp_path}", None)


def test_values_of_every_mode_are_8_bits(tmp_path):
    values = np.array([[0, 50], [128, 255]], dtype=np.uint8)
    grey = Image.fromarray(values)
    palette = Image.fromarray(np.stack([values] * 3, -1)).quantize(4)
    transparent = palette.copy()
    transparent.info["transparency"] = bytes([0, 128, 255, 255])
    images = {
        "8": grey,
        "rgba": Image.merge("RGBA", [grey] * 4),
        "16": Image.fromarray(values.astype(np.uint16) * 257),
        "32": Image.fromarray(values.astype(np.int32) * 257),
        "p": palette,
        "pt": transparent,
        "la": Image.merge("LA", [grey, grey]),
    }
    for name, image in images.items():
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / ("a.tif" if name == "32" else "a.png"))
        pictures = open_pictures(f"images:{tmp_path / name}", None).train
        for in_chans in (1, 3):
            found = pictures.values(0, in_chans)
            assert found.dtype == torch.uint8
            assert torch.equal(found, torch.from_numpy(values).expand(in_chans, 2, 2)), name


def test_values_without_a_known_white_are_refused(tmp_path):
    Image.fromarray(np.array([[1.5]], dtype=np.float32)).save(tmp_path / "a.tif")
    pictures = open_pictures(f"images:{tmp_path}", None).train
    words = r"a.tif: values that do not say what is white; expected floats from 0 to 1, found float32"
    with pytest.raises(DataError, match=words) as caught:
        pictures.values(0, 3)
    assert "\n" not in str(caught.value)


def test_bad_folders_are_one_line_each(tmp_path):
    cases = {
        "images:nowhere": "no such folder",
        "images:": "no images; expected files that end in .*, found none; put images there",
        "nothing": "unknown data for restoration; expected photographs or images:FOLDER",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            open_pictures(name, str(tmp_path))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="write images:nothing to read that folder"):
        open_pictures("nothing", str(tmp_path))
    write(tmp_path / "nothing" / "train" / "a.png")
    (tmp_path / "nothing" / "other").mkdir()
    with pytest.raises(DataError, match="nothing to test on"):
        open_pictures("images:nothing", str(tmp_path))


def test_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a.png: unreadable image; .*repair or remove the file"):
        open_pictures(f"images:{tmp_path}", None)


def test_damaged_image_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    pictures = open_pictures(f"images:{tmp_path}", None).train
    with pytest.raises(DataError, match=r"a.png: unreadable image"):
        pictures.values(0, 3)
