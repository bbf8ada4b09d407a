"""Small data on disk for the tests of refconv.data."""

import shutil

import numpy as np
import pytest
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def write_images(folder, counts, *, seed=0):
    """Write random images of slightly different sizes below class folders."""
    drawn = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = drawn.integers(0, 255, (20 + number % 3, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder with train and val that no test changes."""
    root = tmp_path_factory.mktemp("images")
    write_images(root / "train", dict.fromkeys(CLASSES, 10))
    write_images(root / "val", dict.fromkeys(CLASSES, 3), seed=1)
    return root


@pytest.fixture
def own_folder(shared_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(shared_folder, tmp_path / "images")


def write_idx(path, array, *, opener):
    """Write an array of bytes in the idx format."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    with opener(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def idx_folder(tmp_path):
    """Write Fashion-MNIST's four files with a few random images; returns a function of folder and opener."""

    def write(folder, opener=open, suffix=""):
        drawn = np.random.default_rng(0)
        folder.mkdir(parents=True, exist_ok=True)
        for part, count in (("train", 40), ("t10k", 20)):
            images, labels = drawn.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
            write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images, opener=opener)
            write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels, opener=opener)
        return folder

    return write
