"""Hugging Face data sets on a disk: the same samples, splits and order as a folder of the same images."""

import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data.opening import open_data
from refconv.engine import train
from refconv.engine.stepping import Stepper
from refconv.errors import DataError
from refconv.process.interruption import StoppedError
from refconv.recipe.recipe import Recipe


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datasets" else find(name))
    with pytest.raises(DataError, match=r"hf:.*: needs a package .* expected datasets; pip install 'refconv\[hf\]'"):
        open_data(f"hf:{tmp_path}")


@pytest.fixture(scope="module")
def datasets():
    return pytest.importorskip("datasets", reason="needs the extra hf")


CLASSES = ("cat", "dog")


def pictures(count, seed):
    """Return images of noise, their labels, and their files' content."""
    drawn = np.random.default_rng(seed)
    labels = [i % 2 for i in range(count)]
    images = [Image.fromarray(drawn.integers(0, 256, (20, 24, 3), dtype=np.uint8)) for _ in labels]
    files = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "PNG")
        files.append(file.getvalue())
    return images, labels, files


def table(datasets, count, seed, names=CLASSES, **columns):
    _, labels, files = pictures(count, seed)
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    rows = {"img": [{"bytes": file, "path": None} for file in files], "label": labels}
    made = datasets.Dataset.from_dict(rows, features=features)
    for name, values in columns.items():
        made = made.add_column(name, values)
    return made


@pytest.fixture(scope="module")
def saved(datasets, tmp_path_factory):
    """Return a saved data set, and a folder with the same images in the same order."""
    root = tmp_path_factory.mktemp("saved")
    parts = {"train": table(datasets, 24, 0), "test": table(datasets, 10, 1)}
    datasets.DatasetDict(parts).save_to_disk(str(root / "hf"))
    for split, (count, seed) in {"train": (24, 0), "test": (10, 1)}.items():
        images, labels, _ = pictures(count, seed)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = root / "folder" / split / CLASSES[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return root


def by_label(data, split):
    batches = list(data.eval_batches(split, batch_size=5))
    samples, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return [samples[labels == label] for label in (0, 1)]


def test_samples_are_those_of_a_folder(saved):
    arrow, folder = (open_data(name, img_size=16) for name in (f"hf:{saved}/hf", f"folder:{saved}/folder"))
    assert arrow.info.class_names == folder.info.class_names == CLASSES
    assert (arrow.info.train_size, arrow.info.val_size, arrow.info.test_size) == (24, 0, 10)
    for split in ("train", "test"):
        for mine, theirs in zip(by_label(arrow, split), by_label(folder, split), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_start_anywhere(saved, workers):
    data = open_data(f"hf:{saved}/hf", img_size=16, val_split=0.25, workers=workers)
    whole = list(data.train_batches(seed=3, epoch=1, batch_size=4))
    tail = list(data.train_batches(seed=3, epoch=1, batch_size=4, first_batch=2))
    assert len(whole) == 4  # 18 samples
    for (a, b), (c, d) in zip(whole[2:], tail, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_a_run_goes_on_exactly(saved, tmp_path, monkeypatch, one_thread):
    recipe = Recipe(model="resnet18", data=f"hf:{saved}/hf", img_size=32, epochs=2, batch_size=4, lr=0.01, device="cpu")
    recipe = Recipe.from_mapping(recipe.to_dict() | {"workers": 0, "checkpoint_interval": 2, "model": "test_resnet"})
    train(recipe, tmp_path / "whole", show=False)
    step = Stepper.step

    def stopped(self, number, parts):
        if number == 7:
            raise KeyboardInterrupt
        return step(self, number, parts)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stopped)
        with pytest.raises((StoppedError, KeyboardInterrupt)):
            train(recipe, tmp_path / "cut", show=False)
    train(recipe, tmp_path / "cut", resume=True, show=False)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_labels_are_matched_by_the_names_of_the_classes(datasets, tmp_path):
    parts = {"train": table(datasets, 4, 0), "test": table(datasets, 4, 1, names=("dog", "cat"))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "hf"))
    data = open_data(f"hf:{tmp_path}/hf", img_size=16)
    assert [int(label) for _, labels in data.eval_batches("test", batch_size=2) for label in labels] == [1, 0, 1, 0]


def test_what_cannot_be_used_is_one_line(datasets, tmp_path):
    def save(name, parts):
        made = datasets.DatasetDict(parts) if isinstance(parts, dict) else parts
        made.save_to_disk(str(tmp_path / name))
        return f"hf:{tmp_path}/{name}"

    usual = table(datasets, 4, 0)
    (tmp_path / "empty").mkdir()
    wrong = {
        f"hf:{tmp_path}/nowhere": "no such folder; give the folder that save_to_disk wrote",
        f"hf:{tmp_path}/empty": "cannot be opened; found .*",
        save("single", usual): "a single data set; expected splits train and test; save a DatasetDict",
        save("untrained", {"test": usual}): "no training images; expected a split train, found test",
        save("untested", {"train": usual}): "nothing to test on; expected val, validation or test beside train",
        save("wordless", {"train": usual.remove_columns("label").add_column("label", list("abab")), "test": usual}):
            "/train: no single column of classes; expected one of type ClassLabel, found none; .* class_encode_column",
        save("blind", {"train": usual.remove_columns("img"), "test": usual}):
            "/train: no single column of images; expected one of type Image, found none",
    }  # fmt: skip
    numbered = tmp_path / "numbered"
    save("numbered", {"train": usual, "test": usual})
    columns = numbered / "train/dataset_info.json"
    columns.write_text(columns.read_text().replace('"cat"', "7"))
    wrong[f"hf:{numbered}"] = "/train: names of classes are no text; found 7; save it again"
    for name, words in wrong.items():
        with pytest.raises(DataError, match=words):
            open_data(name)


def test_an_unreadable_image_is_named(datasets, tmp_path):
    made = table(datasets, 4, 0)
    features = made.features
    rows = [
        {"bytes": b"no image", "path": None},
        None,
        *[made.cast_column("img", datasets.Image(decode=False))[0]["img"]],
    ]
    broken = datasets.Dataset.from_dict({"img": rows, "label": [0, 1, 0]}, features=features)
    datasets.DatasetDict({"train": made, "test": broken}).save_to_disk(str(tmp_path / "hf"))
    data = open_data(f"hf:{tmp_path}/hf", img_size=16)
    with pytest.raises(DataError, match="image 0 of hf:.*/test: unreadable image; expected one of the formats JPEG"):
        next(data.eval_batches("test", batch_size=1))
    batches = data.eval_batches("test", batch_size=2)
    with pytest.raises(DataError, match="image [01] of hf:.*/test: unreadable image"):
        next(batches)
