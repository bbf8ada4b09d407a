"""Tests of the data sets kept in memory: refconv.data.sources."""

import gzip
import random
import socket

import numpy as np
import pytest
import torch

from refconv.data import open_data, sources
from refconv.data.sources import DEBIAN, FILES, open_digits, open_fashion_mnist, open_mnist1d
from refconv.errors import DataError

needs_debian = pytest.mark.skipif(
    not (DEBIAN / f"{FILES[0]}.gz").exists(), reason="Debian's package dataset-fashion-mnist is not installed"
)


def assert_statistics(source, tolerance):
    values = source.train.double() * source.unit
    assert values.mean() == pytest.approx(source.mean[0], abs=tolerance)
    assert values.std(correction=0) == pytest.approx(source.std[0], abs=tolerance)


def test_digits_are_scaled_to_one_and_split_by_class():
    source = open_digits()
    assert source.train.shape == (1438, 1, 8, 8)
    assert source.test.shape == (359, 1, 8, 8)
    assert float((source.train * source.unit).max()) == 1.0
    every = torch.bincount(torch.cat([source.train_labels, source.test_labels]))
    assert ((torch.bincount(source.test_labels) - 0.2 * every).abs() < 1).all()


def test_digits_split_has_not_changed_since_results_were_written():
    # Fixed by construction; a change would make old and new accuracies incomparable.
    source = open_digits()
    assert source.test_labels[:12].tolist() == [0, 4, 7, 4, 5, 0, 0, 1, 7, 0, 6, 6]
    assert int((source.test.double().flatten(1) * torch.arange(64)).sum()) == 3524130


def test_digits_statistics_are_those_of_the_training_samples():
    assert_statistics(open_digits(), 5e-5)


def generators():
    """Return the states of the generators that the package mnist1d seeds."""
    return random.getstate(), np.random.get_state()[1].tolist()


@pytest.fixture(scope="module")
def generated():
    """MNIST-1D as it is generated where there is no network, and the states of the generators around that."""

    def refuse(*_, **__):
        raise AssertionError("no network here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        np.random.seed(1)
        before = generators()
        return open_mnist1d.__wrapped__(), before, generators()


def test_mnist1d_needs_no_network_and_has_the_standard_sizes(generated):
    source, _, _ = generated
    assert source.train.shape == (4000, 1, 40)
    assert source.test.shape == (1000, 1, 40)
    assert source.train.dtype == torch.float32
    assert sorted(source.train_labels.unique().tolist()) == list(range(10))
    # Centred and scaled over train and test together, so nearly so over train.
    assert_statistics(source, 0.01)


def test_mnist1d_is_the_same_again_and_leaves_the_generators_alone(generated):
    first, before, after = generated
    again = open_mnist1d()
    assert again is not first
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test_labels, again.test_labels)
    assert after == before
    assert open_mnist1d() is again


@pytest.mark.parametrize("name", ["digits", "mnist1d"])
def test_embedded_data_refuse_a_folder(name):
    with pytest.raises(DataError, match=rf"{name}: is not read from a folder; found /here; leave the data folder out"):
        open_data(name, root="/here")


@needs_debian
def test_fashion_mnist_of_debian_is_whole():
    source = open_fashion_mnist()
    assert source.train.shape == (60000, 1, 28, 28)
    assert source.test.shape == (10000, 1, 28, 28)
    assert torch.bincount(source.train_labels).tolist() == [6000] * 10
    assert torch.bincount(source.test_labels).tolist() == [1000] * 10
    assert len(source.class_names) == 10
    assert_statistics(source, 5e-5)


@needs_debian
def test_fashion_mnist_opens_by_name():
    info = open_data("fashion-mnist", val_split=0.1).info
    assert (info.train_size, info.val_size, info.test_size) == (54000, 6000, 10000)


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize(("opener", "suffix"), [(open, ""), (gzip.open, ".gz")], ids=["plain", "gzip"])
def test_fashion_mnist_reads_a_given_folder(idx_folder, tmp_path, layout, opener, suffix):
    idx_folder(tmp_path / layout, opener, suffix)
    source = open_fashion_mnist(str(tmp_path))
    assert source.train.shape == (40, 1, 28, 28)
    expected = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    assert torch.equal(source.train[:, 0], torch.from_numpy(expected).to(torch.uint8))
    assert source.test_labels.tolist() == [*range(10), *range(10)]


def test_fashion_mnist_names_the_files_missing_in_a_given_folder(tmp_path):
    with pytest.raises(DataError, match=r"Fashion-MNIST not found; expected the files train-images-idx3-ubyte"):
        open_fashion_mnist(str(tmp_path))


def damaged(content):
    return {"cut": content[:-5], "longer": content + b"x", "empty": b"", "foreign": b"PK" + content[2:]}


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "foreign"])
def test_fashion_mnist_names_a_damaged_file(idx_folder, tmp_path, damage):
    path = idx_folder(tmp_path) / FILES[2]
    path.write_bytes(damaged(path.read_bytes())[damage])
    with pytest.raises(DataError, match=rf"{FILES[2]}: damaged or not an idx file of bytes.*fetch the file again"):
        open_fashion_mnist(str(tmp_path))


def test_fashion_mnist_names_a_file_whose_compression_is_damaged(idx_folder, tmp_path):
    path = idx_folder(tmp_path, gzip.open, ".gz") / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{FILES[0]}.gz: cannot be read.*fetch the file again"):
        open_fashion_mnist(str(tmp_path))


def test_fashion_mnist_refuses_labels_of_another_number(idx_folder, tmp_path):
    folder = idx_folder(tmp_path)
    (folder / FILES[1]).write_bytes((folder / FILES[3]).read_bytes())
    with pytest.raises(DataError, match=r"images and labels do not match.*\[40, 28, 28\] and \[20\]"):
        open_fashion_mnist(str(tmp_path))


def test_fashion_mnist_without_files_and_network_says_what_to_do(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", offline)
    with pytest.raises(DataError, match=r"cannot be downloaded.*Error downloading.*dataset-fashion-mnist.*folder"):
        open_fashion_mnist()


def test_fashion_mnist_is_downloaded_into_the_users_cache(monkeypatch, tmp_path, idx_folder):
    def download(root, *, download):
        assert download
        idx_folder(tmp_path / "refconv" / "FashionMNIST" / "raw")
        assert root == str(tmp_path / "refconv")

    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    assert open_fashion_mnist().train.shape == (40, 1, 28, 28)
