"""Tests of refconv.engine.setup: the classes that training goes on with."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.engine import Recipe, train
from refconv.engine.setup import open_setup
from refconv.errors import DataError
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small
from refconv.models.opening import open_model
from refconv.process.distributed import Processes


def write_images(folder, brightness, count=6):
    drawn = np.random.default_rng(0)
    for name, value in brightness.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(value + drawn.normal(0, 5, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def recipe(data, **settings):
    return Recipe(**{
        "model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "in_chans": 1,
        "data": f"folder:{data}", "img_size": 8, "batch_size": 6, "epochs": 1, "workers": 0, "device": "cpu",
        **settings,
    })  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run on three classes, with its data."""
    folder = tmp_path_factory.mktemp("base")
    for split in ("train", "val"):
        write_images(folder / "data" / split, {"ant": 20, "bee": 120, "cat": 220})
    train(recipe(folder / "data"), folder / "run", show=False)
    return folder


def some_classes(base, folder):
    """Write two of the classes, whose sorted places are not the model's."""
    for split in ("train", "val"):
        for name in ("bee", "cat"):
            shutil.copytree(base / "data" / split / name, folder / split / name)
    return folder


@pytest.mark.parametrize("weights", ["run", "run/model", "run/checkpoint.pt"])
def test_training_goes_on_with_the_classes_of_the_weights(base, tmp_path, weights):
    data = some_classes(base, tmp_path / "data")
    record = train(recipe(data, checkpoint=str(base / weights), lr=0.0), tmp_path / "run", show=False)
    opened = open_model(str(tmp_path / "run"))
    assert opened.class_names == ("ant", "bee", "cat")
    before, after = open_model(str(base / "run")).model.state_dict(), opened.model.state_dict()
    assert torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert record.test_samples == 12


def test_other_classes_are_refused_unless_the_classifier_starts_anew(base, tmp_path):
    for split in ("train", "val"):
        write_images(tmp_path / "data" / split, {"bee": 20, "dog": 120, "eel": 220})
    weights = str(base / "run")
    with pytest.raises(DataError, match=r"2 of 3 classes .*ant, bee, cat, found dog, eel; .*or --reset-classifier"):
        train(recipe(tmp_path / "data", checkpoint=weights), tmp_path / "run", show=False)
    train(recipe(tmp_path / "data", checkpoint=weights, reset_classifier=True), tmp_path / "again", show=False)
    assert open_model(str(tmp_path / "again")).class_names == ("bee", "dog", "eel")


def test_a_run_goes_on_with_its_classes_when_the_weights_are_gone(base, tmp_path):
    data = some_classes(base, tmp_path / "data")
    weights = shutil.copytree(base / "run", tmp_path / "weights")
    settings = recipe(data, checkpoint=str(weights), epochs=2)
    train(settings, tmp_path / "run", show=False)
    shutil.rmtree(weights)
    (tmp_path / "run" / "record.json").unlink()
    record = train(settings, tmp_path / "run", resume=True, show=False)
    assert record.test_samples == 12
    assert open_model(str(tmp_path / "run")).class_names == ("ant", "bee", "cat")


def test_a_class_map_joins_folders(base, tmp_path):
    (tmp_path / "map.csv").write_text("ant,insect\nbee,insect\n")
    train(recipe(base / "data", class_map=str(tmp_path / "map.csv")), tmp_path / "run", show=False)
    assert open_model(str(tmp_path / "run")).class_names == ("cat", "insect")


def test_a_class_map_of_numbers_gives_the_outputs_of_a_checkpoint_that_names_none(base, tmp_path):
    weights = mobilenet_small(width=0.25, num_classes=10).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    (tmp_path / "map.csv").write_text("ant,7\nbee,2\ncat,5\n")
    settings = recipe(
        base / "data",
        checkpoint=str(tmp_path / "weights.pth"),
        num_classes=10,
        class_map=str(tmp_path / "map.csv"),
        lr=0.0,
    )
    setup = open_setup(method_of(settings), Processes(0, 1, torch.device("cpu")))
    images, labels = next(setup.data.eval_batches("train", batch_size=18))
    brightness = {label: float(images[labels == label].mean()) for label in set(labels.tolist())}
    assert sorted(brightness, key=brightness.__getitem__) == [7, 2, 5]  # ants are dark, cats are bright
    train(settings, tmp_path / "run", show=False)
    opened = open_model(str(tmp_path / "run"))
    assert opened.class_names == tuple("0123456789")
    assert torch.equal(opened.model.state_dict()["classifier.weight"], weights["classifier.weight"])
