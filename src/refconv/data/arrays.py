"""Samples that are tensors and not pictures: arrays in .npz and .npy files, sounds, images of any number of channels.

Values of unsigned integers are scaled to [0, 1] by the type's largest; other numbers stay as they are. Sets that do not
fit into memory are rows: a shape, and batches of chosen samples, as float32 or bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from refconv.data.images import PathTable, decode, open_image, reading
from refconv.data.loading import load_batches
from refconv.data.preprocessing import IMAGE_MODES
from refconv.data.sizes import check_expansion
from refconv.errors import DataError, in_one_line

SOUNDS = (".wav", ".flac", ".ogg", ".aiff", ".aif")
ARRAYS = (".npy",)
_TIFF = (".tif", ".tiff")
_MANY = 16  # the most channels of a signal whose layout is not said
_LOOKED_AT = 2000  # samples whose mean and standard deviation stand for those of all
_ROLES = {"x": "x", "images": "x", "data": "x", "samples": "x", "y": "y", "labels": "y", "targets": "y"}
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Rows(Protocol):
    """Samples that are read when they are needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all together, [n, C, *spatial]."""

    def resized(self, size: Sequence[int], mode: str) -> Rows:
        """Return the same with samples of another size: images are resized, sounds cut at both ends or padded."""

    def batches(self, indices: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
        """Yield batches [batch, C, *spatial] of these indices."""


def resized(samples: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Resize float samples [n, C, *spatial]: images smoothly, signals linearly."""
    spatial = samples.ndim - 2
    chosen = {"nearest": "nearest-exact"}.get(mode, mode) if spatial == 2 else "linear"
    return F.interpolate(samples, size=list(size), mode=chosen, antialias=spatial == 2 and mode != "nearest")


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how the axes of one sample are ordered to be [C, ...]; an axis -1 stands for a single channel to add.

    One axis is a signal. Two are a picture, or a signal of several channels where one is at most 16 and less than half
    of the other. Of three, the smaller of the first and the last are the channels.

    Example:
        >>> channels_first((16000,)), channels_first((9, 128)), channels_first((64, 313)), channels_first((32, 32, 4))
        ((-1, 0), (0, 1), (-1, 0, 1), (2, 0, 1))
    """
    if len(shape) == 1:
        return (-1, 0)
    if len(shape) == 2:
        small, large = sorted(shape)
        signal = small <= _MANY and 2 * small < large
        return ((0, 1) if shape[0] == small else (1, 0)) if signal else (-1, 0, 1)
    return (2, 0, 1) if shape[2] < shape[0] else (0, 1, 2)


def _arranged(array: NDArray[Any], axes: Sequence[int], first: int) -> NDArray[Any]:
    """Return an array whose axes from ``first`` on are ordered as :func:`channels_first` says."""
    kept = [axis for axis in axes if axis >= 0]
    array = array.transpose(*range(first), *(first + axis for axis in kept))
    return np.expand_dims(array, first) if -1 in axes else array


def floats(array: NDArray[Any], *, where: str) -> Tensor:
    """Return values as float32, those of unsigned integers and truth values from 0 to 1."""
    if array.dtype.kind not in "buif":
        raise DataError("not numbers", where=where, found=str(array.dtype))
    unit = 1 / np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) * unit


@dataclasses.dataclass(frozen=True)
class ArrayRows:
    """An array [n, ...] in memory or mapped from a file; its samples are arranged by ``axes``."""

    array: NDArray[Any]
    axes: tuple[int, ...]
    where: str
    size: tuple[int, ...] | None = None
    mode: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all, [n, C, *spatial]."""
        own = tuple(1 if axis < 0 else self.array.shape[1 + axis] for axis in self.axes)
        return (len(self.array), own[0], *(self.size or own[1:]))

    def resized(self, size: Sequence[int], mode: str) -> ArrayRows:
        """Return the same of another size."""
        return dataclasses.replace(self, size=tuple(size), mode=mode)

    def batches(self, indices: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
        """Read batches in this process: mapped files are read ahead by the system."""
        for batch in indices:
            found = floats(_arranged(self.array[batch.numpy()], self.axes, 1), where=self.where)
            if not bool(found.isfinite().all()):
                remedy = "replace NaN and infinity in the file"
                raise DataError("samples are not finite", where=self.where, found="NaN or infinity", remedy=remedy)
            yield found if self.size is None else resized(found, self.size, self.mode)


@dataclasses.dataclass(frozen=True)
class FileRows:
    """One file a sample, all brought to one shape [C, *spatial]; sounds of another length are cut or padded."""

    paths: PathTable
    sample: tuple[int, ...]
    mode: str = "bilinear"
    rate: int | None = None  # samples of sounds in a second

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all, [n, C, *spatial]."""
        return (len(self.paths), *self.sample)

    def resized(self, size: Sequence[int], mode: str) -> FileRows:
        """Return the same of another size."""
        return dataclasses.replace(self, sample=(self.sample[0], *size), mode=mode)

    def batches(self, indices: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
        """Read batches by worker processes."""
        return load_batches(self, indices, workers=workers, collate=torch.stack)

    def __getitem__(self, index: int) -> Tensor:
        """Read one sample."""
        return fitted(self.paths[index], self.sample, self.mode, self.rate)


def fitted(path: str, shape: Sequence[int], mode: str, rate: int | None = None) -> Tensor:
    """Read a file as a sample of a shape [C, *spatial]; grey from sounds of several channels is their mean."""
    values, found = read_tensor(path)
    if found is not None:
        check_rate(found, rate, where=path)
    if found is not None and shape[0] == 1:
        values = values.mean(dim=0, keepdim=True)
    if values.ndim != len(shape) or len(values) != shape[0]:
        expected, axes = f"{shape[0]} channels and {len(shape) - 1} axes", list(values.shape)
        raise DataError("a sample of another kind", where=path, expected=expected, found=f"shape {axes}")
    if tuple(values.shape[1:]) == tuple(shape[1:]):
        return values
    if values.ndim == 2:
        extra = shape[1] - values.shape[1]
        start = max(0, -extra) // 2
        return F.pad(values[:, start : start + shape[1]], (0, max(0, extra)))
    return resized(values[None], shape[1:], mode)[0]


def check_rate(found: int, wanted: int | None, *, where: str) -> None:
    """Check that sounds have the sampling rate of others, or of those that a model was trained with, in Hz."""
    if wanted is not None and found != wanted:
        what, remedy = "another sampling rate", f"resample the sounds to {wanted} Hz"
        raise DataError(what, where=where, expected=f"{wanted} Hz", found=f"{found} Hz", remedy=remedy)


def is_tensor_file(path: str, in_chans: int | None) -> bool:
    """Say whether a file is read as a tensor: arrays and sounds, and images of other than 1 or 3 channels."""
    return Path(path).suffix.lower() in (*SOUNDS, *ARRAYS) or (in_chans or 3) not in IMAGE_MODES


def read_tensor(path: str) -> tuple[Tensor, int | None]:
    """Read one sample, float32 [C, *spatial], and the sampling rate of a sound."""
    suffix, rate = Path(path).suffix.lower(), None
    if suffix in SOUNDS:
        values, rate = _sound(path)
    elif suffix in ARRAYS:
        values = _array(Path(path), mapped=False)
    else:
        values = _image(path)
    if not 1 <= values.ndim <= 3:
        expected = "a signal, a picture, or channels of either"
        raise DataError("not a sample", where=path, expected=expected, found=f"shape {list(values.shape)}")
    sample = floats(_arranged(values, channels_first(values.shape), 0), where=path)
    if not bool(sample.isfinite().all()):
        raise DataError("the sample is not finite", where=path, found="NaN or infinity", remedy="repair or remove it")
    return sample, rate


def open_files(paths: Sequence[str], in_chans: int | None, *, first: FileRows | None = None) -> FileRows:
    """Return files as rows of one shape: that of the first file, or as long as the longest sound.

    Samples of held-out splits are brought to the shape of the training samples, ``first``.

    Raises:
        DataError: if the first file has another number of channels, or cannot be read.
    """
    if first is not None:
        return dataclasses.replace(first, paths=PathTable(paths))
    values, rate = read_tensor(paths[0])
    shape = list(values.shape)
    if rate is not None:
        shape = [in_chans or shape[0], max(_length(path) for path in paths)]
    elif in_chans not in {None, shape[0]} and shape[0] != 1:
        what, expected, found = "a sample of another kind", f"{in_chans} channels", str(shape[0])
        raise DataError(
            what,
            where=paths[0],
            expected=expected,
            found=found,
            remedy=f"give --in-chans {shape[0]}, in Python in_chans",
        )
    return FileRows(PathTable(paths), tuple(shape), rate=rate)


def statistics(rows: Rows) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, of some samples evenly spread over all."""
    count = rows.shape[0]
    chosen = torch.arange(0, count, max(1, count // _LOOKED_AT))
    total = squares = torch.zeros(rows.shape[1], dtype=torch.float64)
    numbers = 0
    for batch in rows.batches(chosen.split(64), workers=0):
        values = batch.double().transpose(0, 1).flatten(1)
        total, squares = total + values.sum(1), squares + values.square().sum(1)
        numbers += values.shape[1]
    mean = total / numbers
    std = (squares / numbers - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))  # of a channel that is constant
    return tuple(round(v, 6) for v in mean.tolist()), tuple(float(f"{v:.6g}") for v in std.tolist())


def open_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file, or those of .npy files in a folder, which are mapped, by ``x_train`` and so on.

    Names are understood in either order and with other words, such as ``train_images`` and ``test_labels``.

    Raises:
        DataError: if there are no such arrays, or not as many targets as samples.
    """
    if path.is_dir():
        stored = {file.stem: _array(file, mapped=True) for file in sorted(path.glob("*.npy"))}
    else:
        if not path.exists():
            raise DataError("no such file or folder", where=str(path), remedy="give a .npz file or a folder")
        with in_one_line(DataError, "cannot be read", where=str(path), expected="a .npz file"):
            stored = _members(path)
    named = {_role(name): array for name, array in stored.items()}
    if not {"x_train", "y_train"} <= named.keys():
        expected, found = "x_train, y_train, x_test and y_test", ", ".join(stored) or "no arrays"
        raise DataError("not a set of samples and targets", where=str(path), expected=expected, found=found)
    for split in ("train", "val", "test"):
        x, y = named.get(f"x_{split}"), named.get(f"y_{split}")
        if (x is None) != (y is None) or (x is not None and y is not None and len(x) != len(y)):
            found = f"{0 if x is None else len(x)} and {0 if y is None else len(y)}"
            raise DataError("as many targets as samples are needed", where=f"{path}, {split}", found=found)
    return named


def _role(name: str) -> str:
    """Return ``x_train`` for ``train_images``; other names stay."""
    words = re.split(r"[_\-.]", name.lower())
    if len(words) == 2:
        for role, split in (words, words[::-1]):
            if role in _ROLES and split in _SPLITS:
                return f"{_ROLES[role]}_{_SPLITS[split]}"
    return name


def _array(path: Path, *, mapped: bool) -> NDArray[Any]:
    # Mapped in any case: an array that says it is larger than its file is refused before memory is asked for.
    with in_one_line(DataError, "cannot be read", where=str(path), expected="a .npy file"):
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found if mapped else np.array(found)


def _members(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a .npz file, each of which takes as much memory as its shape says, and as zip says."""
    stored = {}
    with path.open("rb") as opened, zipfile.ZipFile(opened) as archive:
        check_expansion(path.stat().st_size, sum(member.file_size for member in archive.infolist()), where=str(path))
        for member in archive.infolist():
            # numpy would take memory for the shape in the head before it finds that the values are missing.
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                needed = math.prod(shape) * dtype.itemsize
                if dtype.hasobject or min(shape, default=0) < 0 or needed > member.file_size:
                    found = f"{needed:,} bytes of {dtype} in {member.file_size:,}"
                    raise DataError(
                        "an array that its file does not hold", where=f"{path}: {member.filename}", found=found
                    )
            with archive.open(member) as file:
                stored[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return stored


def _image(path: str) -> NDArray[Any]:
    """Read all channels of an image; TIFF files by tifffile, others by PIL."""
    if Path(path).suffix.lower() in _TIFF:
        try:
            import tifffile

            tifffile.logger().setLevel(logging.CRITICAL)  # what is wrong with a file is said in an error
        except ImportError as error:
            remedy = 'pip install "refconv[channels]"'
            raise DataError("needs tifffile, which is not installed", where=path, remedy=remedy) from error
        remedy = "repair or remove it"
        with in_one_line(DataError, "unreadable image", where=path, remedy=remedy), tifffile.TiffFile(path) as file:
            check_expansion(Path(path).stat().st_size, file.series[0].nbytes, where=path)
            return np.asarray(file.asarray())
    with reading(path), open_image(path) as image:
        if image.mode in {"RGBA", "LA", "CMYK", "La", "RGBa"}:
            return np.asarray(image)
        return np.asarray(decode(image, where=path))


def _soundfile(path: str) -> Any:
    try:
        import soundfile
    except ImportError as error:
        remedy = 'pip install "refconv[sound]"'
        raise DataError("needs soundfile, which is not installed", where=path, remedy=remedy) from error
    return soundfile


def _sound(path: str) -> tuple[NDArray[Any], int]:
    soundfile = _soundfile(path)
    with in_one_line(DataError, "unreadable sound", where=path, remedy="repair or remove it"):
        size = 4 * soundfile.info(path).frames * soundfile.info(path).channels
        check_expansion(Path(path).stat().st_size, size, where=path)
        values, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(values):
        raise DataError("an empty sound", where=path, remedy="remove it")
    return values.T if values.shape[1] > 1 else values[:, 0], int(rate)


def _length(path: str) -> int:
    soundfile = _soundfile(path)
    try:
        return int(soundfile.info(path).frames)
    except (OSError, RuntimeError) as error:
        raise DataError("unreadable sound", where=path, found=str(error), remedy="repair or remove it") from error


def layout_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> tuple[int, ...]:
    """Return how the samples of a set are arranged; those of all splits must have one shape."""
    shapes = {array.shape[1:] for name, array in arrays.items() if name.startswith("x_")}
    if len(shapes) != 1:
        found = ", ".join(str(list(shape)) for shape in sorted(shapes))
        raise DataError("samples of different shapes", where=str(path), expected="one shape", found=found)
    (shape,) = shapes
    if not 1 <= len(shape) <= 3:
        expected = "[n, ...] of signals or images"
        raise DataError("not samples", where=str(path), expected=expected, found=f"samples of shape {list(shape)}")
    return channels_first(shape)
