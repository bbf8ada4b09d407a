"""Fashion-MNIST: 70,000 grey images of 28 x 28 in ten classes (Xiao et al. 2017, arXiv 1708.07747)."""

from __future__ import annotations

import functools
import gzip
import zlib
from pathlib import Path

import torch
from torch import Tensor

from refconv.data.cache import cache_folder
from refconv.data.memory import Source
from refconv.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def open_fashion_mnist(root: str | None = None) -> Source:
    """Return Fashion-MNIST from a given folder, from Debian's package, or downloaded by torchvision.

    Args:
        root: a folder with the four idx files, compressed or not, or torchvision's folder above them; None
            looks for Debian's package, then in the user's cache, and downloads there at last.

    Raises:
        DataError: if the files are missing, damaged or cannot be downloaded.
    """
    if root is not None:
        folder = _folder_of_files(Path(root))
        if folder is None:
            raise DataError(
                "Fashion-MNIST not found",
                where=root,
                expected=f"the files {', '.join(FILES)}, with or without .gz",
                remedy="leave the data folder out to download them",
            )
    else:
        folder = _folder_of_files(DEBIAN) or _folder_of_files(cache_folder()) or _downloaded(cache_folder())
    files = [_file(folder, name) for name in FILES]
    return _source(*((file, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=1)  # a study opens the same files for hundreds of short runs
def _source(*files: tuple[Path, int]) -> Source:
    """Read the four files, each given with the time at which it was last changed.

    Raises:
        DataError: if one is damaged, or they do not fit together.
    """
    train, train_labels, test, test_labels = (_read_idx(file) for file, _ in files)
    for images, labels, (file, _) in ((train, train_labels, files[0]), (test, test_labels, files[2])):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(
                "images and labels do not match",
                where=str(file),
                expected="[n, height, width] and [n]",
                found=f"{[*images.shape]} and {[*labels.shape]}",
            )
    return Source(
        train=train[:, None],
        train_labels=train_labels.long(),
        test=test[:, None],
        test_labels=test_labels.long(),
        class_names=CLASSES,
        unit=1 / 255,
        mean=(0.2860,),
        std=(0.3530,),
    )


def _file(folder: Path, name: str) -> Path:
    compressed = folder / f"{name}.gz"
    return compressed if compressed.exists() else folder / name


def _folder_of_files(root: Path) -> Path | None:
    """Return the folder at or, in torchvision's layout, below ``root`` that holds all four files."""
    for folder in (root, root / "FashionMNIST" / "raw"):
        if all(_file(folder, name).exists() for name in FILES):
            return folder
    return None


def _downloaded(cache: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            "cannot be downloaded",
            where="fashion-mnist",
            found=str(error),
            remedy="install Debian's package dataset-fashion-mnist, or give the folder of the four idx files",
        ) from error
    folder = _folder_of_files(cache)
    assert folder is not None, cache
    return folder


def _read_idx(path: Path) -> Tensor:
    """Read one file of unsigned bytes in the idx format: two zeros, type, dimensions, sizes, values.

    Raises:
        DataError: if the file cannot be read, or its header and length do not agree.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("cannot be read", where=str(path), found=str(error), remedy="fetch the file again") from error
    dims = content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    header = 4 + 4 * dims
    sizes = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + torch.Size(sizes).numel()
    if not dims or len(content) != expected:
        raise DataError(
            "damaged or not an idx file of bytes",
            where=str(path),
            expected=f"{expected} bytes" if dims else "an idx header",
            found=f"{len(content)} bytes",
            remedy="fetch the file again",
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(sizes)
