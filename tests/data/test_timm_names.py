"""Tests of refconv.data.timm_names."""

import importlib.util

import numpy as np
import pytest
import torch
from timm.data import create_dataset

from refconv.data import Augmentation, open_data, timm_names
from refconv.data.images import decoded
from refconv.data.timm_names import TimmImages
from refconv.errors import DataError


@pytest.fixture
def fashion_root(tmp_path, idx_folder):
    idx_folder(tmp_path / "FashionMNIST" / "raw")
    return str(tmp_path)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_images_of_torchvision_come_with_the_channels_asked_for(fashion_root, channels):
    data = open_data("torch/fashion_mnist", root=fashion_root, in_chans=channels, val_split=0.25)
    assert data.info.input_size == (channels or 3, 28, 28)
    assert data.info.class_names[1] == "Trouser"
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (30, 10, 20)
    x, _ = next(data.eval_batches("test", batch_size=20))
    assert x.shape == (20, *data.info.input_size)


def test_images_of_the_native_size_are_evaluated_whole(fashion_root):
    data = open_data("torch/fashion_mnist", root=fashion_root, in_chans=1, mean=(0.0,), std=(1.0,))
    x, y = next(data.eval_batches("train", batch_size=40))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    torch.testing.assert_close(x[:, 0], torch.from_numpy(pixels).float() / 255)
    assert torch.equal(y, torch.arange(40) % 10)


def test_training_repeats_with_workers(fashion_root):
    settings = {"root": fashion_root, "augmentation": Augmentation(hflip=0.5, pad_crop=4)}
    one, two = (
        list(
            open_data("torch/fashion_mnist", workers=workers, **settings).train_batches(seed=0, epoch=0, batch_size=20)
        )
        for workers in (0, 2)
    )
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, two, strict=True))
    assert len(one) == 2


def test_an_image_that_timm_would_skip_is_named(own_folder):
    (own_folder / "train" / "bee" / "04.png").write_bytes(b"no image")
    images = TimmImages("toy", create_dataset("", root=str(own_folder), split="train"))
    assert images.class_names == ("ant", "bee", "cat")
    assert images.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert decoded(images, 13, "L").mode == "L"
    with pytest.raises(DataError, match=r"image 14 of toy \(.*04\.png\): unreadable image"):
        decoded(images, 14, "RGB")


@pytest.mark.parametrize("name", ["torch/nosuch", "torch/cifar10"])
def test_data_that_timm_cannot_open_are_refused(name, tmp_path, monkeypatch):
    def offline(*args, **settings):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(
        DataError,
        match=rf"{name}: timm cannot open its split 'train'; found .*check the name, the network and the folder",
    ):
        open_data(name, root=str(tmp_path))


@pytest.mark.parametrize("name", ["wds/imagenet", "TFDS/mnist", "hfids/x"])
def test_streams_are_refused_with_the_reason(name):
    with pytest.raises(DataError, match=rf"{name}: a stream.*could not be resumed exactly; expected folder:PATH"):
        open_data(name)


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="datasets is installed")
def test_a_missing_package_is_named(capsys):
    with pytest.raises(DataError, match=r"hfds/cifar10: needs a package.*pip install datasets"):
        open_data("hfds/cifar10")
    assert capsys.readouterr().out == ""


class FakeReader:
    """What timm's reader of Hugging Face data sets offers, around image files."""

    label_key = "label"

    def __init__(self, paths, labels, splits):
        self.paths, self.labels = paths, labels
        self.class_to_idx = {"ant": 0, "bee": 1}
        info = type("Info", (), {"splits": dict.fromkeys(splits)})()
        self.dataset = type("Table", (dict,), {"info": info})(label=labels)

    def __getitem__(self, index):
        return self.paths[index].open("rb"), self.labels[index]


@pytest.mark.parametrize(
    ("splits", "val_size", "test_split"),
    [(("train", "test"), 0, "test"), (("train", "validation", "test"), 2, "test"), (("train", "valid"), 0, "valid")],
    ids=str,
)
def test_splits_of_hugging_face_are_found(shared_folder, monkeypatch, splits, val_size, test_split):
    opened = []

    def create(name, *, root, split, download):
        opened.append(split)
        paths = [shared_folder / "train" / kind / f"{i:02}.png" for kind in ("ant", "bee") for i in range(1)]
        dataset = type("Set", (), {"filename": lambda self, index: f"{index}.png"})()
        dataset.reader = FakeReader(paths, [0, 1], splits)
        return dataset

    monkeypatch.setattr(timm_names, "create_dataset", create)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    data = open_data("hfds/toy", img_size=16)
    assert opened[0] == "train"
    assert opened[-1] == test_split
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (2, val_size, 2)
    assert data.info.class_names == ("ant", "bee")
    assert next(data.eval_batches("test", batch_size=2))[1].tolist() == [0, 1]


def test_data_without_a_list_of_labels_are_refused():
    with pytest.raises(DataError, match="toy: does not list its labels"):
        TimmImages("toy", object())


def test_a_row_of_facts_per_image_gives_the_class():
    dataset = type("Set", (), {"targets": torch.tensor([[1, 9], [0, 8]])})()
    assert TimmImages("toy", dataset).labels.tolist() == [1, 0]
    assert TimmImages("toy", dataset).class_names == ("0", "1")
