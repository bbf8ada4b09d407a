"""Tests of refconv.data.images."""

import pickle

import pytest
import torch
from PIL import Image

from refconv.data import images
from refconv.data.images import FileImages, PathTable, decoded
from refconv.errors import DataError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 24), (10, 20, 30)).save(path)
    return path


def one(path):
    return FileImages(PathTable([path]), torch.tensor([0]), ("only",))


def test_path_table_gives_back_any_path():
    paths = ["", "a b/ü.png", "x" * 500, "bytes-\udcff.jpg"]
    table = PathTable(paths)
    assert [table[i] for i in range(len(table))] == paths


def test_path_table_of_nothing_is_empty():
    assert len(PathTable([])) == 0


def test_file_images_survive_pickling(picture):
    images = pickle.loads(pickle.dumps(one(picture)))
    assert images.where(0) == str(picture)
    assert decoded(images, 0, "RGB").getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_decoded_converts_to_the_mode(picture, mode):
    image = decoded(one(picture), 0, mode)
    assert image.mode == mode
    assert image.size == (32, 24)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "noise", "missing", "folder"])
def test_decoded_names_an_unreadable_image(picture, damage):
    content = picture.read_bytes()
    picture.unlink()
    if damage == "folder":
        picture.mkdir()
    elif damage != "missing":
        damaged = {"empty": b"", "text": b"hello", "cut": content[:60], "noise": content[:45] + b"\xff" * 40}
        picture.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"a\.png: unreadable image; .*found .*repair or remove the file"):
        decoded(one(picture), 0, "RGB")


def test_every_format_that_is_read_is_found_in_folders(tmp_path):
    for kind in images.FORMATS:
        extensions = {end for end, name in Image.registered_extensions().items() if name == kind}
        assert extensions & {*images.EXTENSIONS}, kind
    Image.new("RGB", (32, 24), (10, 20, 30)).save(tmp_path / "a.jp2")
    (found,) = images.images_below(tmp_path)
    assert decoded(one(found), 0, "RGB").size == (32, 24)
