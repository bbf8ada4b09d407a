"""Pictures of predictions are written beside what is in a folder, not over it."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from refconv.errors import DataError
from refconv.models.opening import Opened
from refconv.tasks.predicting import looking_at, predictions, save_predictions
from refconv.tasks.task import Prediction


def drawn(value):
    return Prediction({"classes": []}, "", Image.new("L", (2, 2), value), Image.new("P", (2, 2)))


def test_images_of_the_user_are_not_replaced_by_predictions(tmp_path):
    folder, outside = tmp_path / "images", tmp_path / "outside.png"
    folder.mkdir()
    Image.new("L", (2, 2), 7).save(folder / "x.png")
    Image.new("L", (2, 2), 9).save(outside)
    (folder / "y.png").symlink_to(outside)
    for value in (100, 200):  # the second time those of the first are replaced
        save_predictions(folder, [(folder / "x.png", drawn(value)), (folder / "y.png", drawn(value))])
        (first, second) = json.loads((folder / "predictions.json").read_text())
        assert (first["picture"], first["mask"]) == ("x-2.png", "x.mask.png")
        assert (second["picture"], second["mask"]) == ("y-2.png", "y.mask.png")
        assert Image.open(folder / "x-2.png").getpixel((0, 0)) == value
        assert Image.open(folder / "x.png").getpixel((0, 0)) == 7
        assert Image.open(outside).getpixel((0, 0)) == 9
    names = {"x.png", "y.png", "x-2.png", "y-2.png", "x.mask.png", "y.mask.png", "predictions.json"}
    assert {entry.name for entry in folder.iterdir()} == names


def test_a_picture_that_became_a_link_is_replaced_and_not_what_it_names(tmp_path):
    folder, outside = tmp_path / "out", tmp_path / "outside.png"
    save_predictions(folder, [(tmp_path / "x.png", drawn(100))])
    Image.new("L", (2, 2), 9).save(outside)
    (folder / "x.png").unlink()
    (folder / "x.png").symlink_to(outside)
    save_predictions(folder, [(tmp_path / "x.png", drawn(200))])
    assert Image.open(outside).getpixel((0, 0)) == 9
    assert Image.open(folder / "x.png").getpixel((0, 0)) == 200


def test_the_size_is_stated_by_the_images_that_can_be_read(tmp_path):
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file in files[1:]:
        Image.new("RGB", (24, 24)).save(file)
    files[0].write_text("no image")
    opened = Opened(nn.Identity(), "identity", {})
    assert looking_at(opened, files).images == looking_at(opened, files[1:]).images != ()
    with pytest.raises(DataError, match=r"a\.png: unreadable image"):
        looking_at(opened, files[:1])


def test_an_image_that_cannot_be_read_is_an_error_where_nothing_takes_it(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_text("no image")
    opened, kept = Opened(nn.Identity(), "identity", {}), []
    with pytest.raises(DataError, match=r"a\.png: unreadable image"):
        next(predictions(opened, files, device=torch.device("cpu")))
    with pytest.raises(DataError, match=r"a\.png: unreadable image"):
        next(predictions(opened, files, device=torch.device("cpu"), unreadable=kept))
    assert [file for file, _ in kept] == files[:1]
