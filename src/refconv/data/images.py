"""Images on a disk: which files they are, and decoding of any to 8 bits per channel; every task reads images here.

* Orientation: the picture is turned and mirrored as its EXIF entry says, as every viewer shows it.
* 8 bits: exactly the values of PIL's ``convert``, so that timm's and torchvision's transforms give the same tensors.
* 16 bits, and integers of 32 bits up to 65535: 65535 becomes 255, rounded. PIL itself keeps the upper 8 bits of 16-bit
  colour files. Floats from 0 to 1: times 255, rounded. Files with other values are refused, and 32-bit TIFF files with
  none above 255, whose white may be either.
* Transparency (alpha, transparent entries of a palette) is dropped, as timm and torchvision do it.
* CMYK, YCbCr and HSV become RGB by PIL's formulas. An animation or a file of several pages gives its first picture.

Files are read in the formats of :data:`FORMATS` only, whatever their names end in: for EPS PIL would start Ghostscript.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from refconv.data.splits import Parts
from refconv.errors import DataError, RefconvWarning, file_name_text, in_one_line

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
"""The formats that are read, under PIL's names; JPEG includes MPO, PPM includes PGM and PBM."""

EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".pbm", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".j2k",
)  # fmt: skip
_NO_IMAGES = {"@eaDir", "@Recycle", "@tmp", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN", "lost+found"}
"""Folders of thumbnails, resource forks and deleted files, which network drives and operating systems make."""

_HEAD, _PIECE = 4096, 1 << 20  # bytes that are read of a file at once

_GREY = {"1", "L", "LA", "F"}  # and all that begin with I: integers of more than 8 bits
_FULL_16_BITS = 0xFFFF
_MOST_OF_8_BITS = 0xFF
_STEPS_OF_16_BITS = 257  # 65535 / 255
_ORIENTATION = 0x0112  # EXIF's number of the entry
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a stored picture upright, by EXIF orientation."""
_SWAPPING = 5  # from this orientation on, width and height are swapped


def decode(source: str | Path | Image.Image, *, where: str | None = None, upright: bool = True) -> Image.Image:
    """Return an image in 8 bits per channel, upright.

    The result is grey (mode ``L``) or in colour (``RGB``); its ``convert("L")`` and ``convert("RGB")`` cannot fail. An
    image that PIL opened or made is left as it is. Error messages call it ``where``, by default the file's name.

    Raises:
        DataError: if it cannot be decoded, or its values do not say what is black and white; one line that names it.
    """
    if not isinstance(source, Image.Image):
        where = where or str(source)
        with reading(where), open_image(source) as image:
            return decode(image, where=where, upright=upright)
    where = where or str(getattr(source, "filename", "") or "image")
    with reading(where):
        source.load()  # PIL turns TIFF files here, and forgets their orientation then
        turn = _UPRIGHT.get(orientation(source)) if upright else None
        result = _in_8_bits(source, where)
        result.info = {}  # orientation and transparency are dealt with
        return result if turn is None else result.transpose(turn)


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """Open an image without decoding it, in one of :data:`FORMATS`; call it within :func:`reading`."""
    opened: Image.Image = Image.open(file, formats=FORMATS)
    return opened


def sizes_of(path: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return width and height of an image upright and as stored, from the head of its file."""
    with reading(path), open_image(path) as image:
        # PIL gives the size of a TIFF file upright, and turns it while decoding.
        turned = image.format != "TIFF" and orientation(image) >= _SWAPPING
        return (image.size[::-1] if turned else image.size), image.size


def orientation(image: Image.Image) -> int:
    """Return an image's EXIF orientation, from 1 (upright) to 8; 1 where there is none, or damaged EXIF data."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # PIL raises anything for damaged EXIF data, which say nothing about the picture
        return 1
    return found if isinstance(found, int) and found in _UPRIGHT else 1


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what PIL raises for an unreadable file into one line."""
    with in_one_line(DataError, "unreadable image", where=where, remedy="repair or remove the file"):
        try:
            yield
        except UnidentifiedImageError as error:
            found = "an empty file" if Path(where).is_file() and not Path(where).stat().st_size else "another"
            expected, remedy = f"one of the formats {', '.join(FORMATS)}", "convert, repair or remove the file"
            raise DataError("unreadable image", where=where, expected=expected, found=found, remedy=remedy) from error
        except FileNotFoundError as error:
            remedy = "bring back what it links to, or remove the link"
            if (link := dangling(where)) is None:
                raise
            raise DataError("unreadable image", where=where, found=link, remedy=remedy) from error


def dangling(path: str | Path) -> str | None:
    """Return what is found at a path that is a link to nothing."""
    if not os.path.islink(path):  # noqa: PTH114  # Path.is_symlink refuses long names
        return None
    return f"a link to {Path(path).readlink()}, where nothing is"


def _in_8_bits(image: Image.Image, where: str) -> Image.Image:
    """Return a copy in mode L or RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled(np.asarray(image), where, least=_MOST_OF_8_BITS if image.format == "TIFF" else 0)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns of going to RGB at once
    return image.convert("L" if image.mode in _GREY else "RGB")


def _scaled(values: NDArray[Any], where: str, *, least: int) -> Image.Image:
    """Scale grey values of more than 8 bits to 0 to 255, 32-bit integers only where some are above ``least``."""
    floats = values.dtype.kind == "f"
    full = 1 if floats else _FULL_16_BITS
    low, high = values.min(), values.max()
    unclear = values.dtype in {np.dtype(np.int32), np.dtype(np.uint32)} and 0 < high <= least
    if unclear or not (low >= 0 and high <= full):  # so that NaN is refused too
        above = f", some above {least}" if least else ""
        expected = "floats from 0 to 1" if floats else f"integers from 0 to {full}{above}"
        what, found = "values that do not say what is white", f"{values.dtype} from {low} to {high}"
        raise DataError(what, where=where, expected=expected, found=found, remedy="save it with 8 or 16 bits")
    scaled = values.astype(np.float64) * 255 if floats else values / _STEPS_OF_16_BITS
    return Image.fromarray(np.round(scaled).astype(np.uint8))


class Images(Protocol):
    """Labelled images of one split; picklable, as worker processes get a copy."""

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64 [n], or its targets, float32 [n, columns]."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    def open(self, index: int) -> Image.Image:
        """Return one image, perhaps not decoded yet."""

    def where(self, index: int) -> str:
        """Name one image for an error message."""


def decoded(images: Images, index: int, mode: str) -> Image.Image:
    """Read one image whole, as :func:`decode` does, in PIL's mode ``L`` or ``RGB``."""
    with reading(images.where(index)):
        image = images.open(index)
        with image:  # closes the file
            return decode(image, where=images.where(index)).convert(mode)


@dataclasses.dataclass(frozen=True)
class FileImages:
    """Images in files of their own, with labels as :class:`Images` has them."""

    paths: PathTable
    labels: Tensor
    class_names: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        """Return one image, not decoded yet."""
        return open_image(self.where(index))

    def where(self, index: int) -> str:
        """Return the path of one image."""
        return self.paths[index]


class PathTable:
    """Many paths in two tensors, which worker processes share; a list of a million strings would be copied to each."""

    def __init__(self, paths: Sequence[Path | str]) -> None:
        # surrogateescape: names on a Linux disk may hold any bytes.
        encoded = [str(path).encode("utf-8", "surrogateescape") for path in paths]
        self._text = torch.frombuffer(bytearray(b"".join(encoded) or b"\0"), dtype=torch.uint8)
        self._ends = torch.tensor([0, *map(len, encoded)]).cumsum(0)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        piece = self._text[self._ends[index] : self._ends[index + 1]]
        return piece.numpy().tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        text = self._text.numpy().tobytes()
        return (text[start:end].decode("utf-8", "surrogateescape") for start, end in pairwise(self._ends.tolist()))


T = TypeVar("T")


def apart(parts: Parts[T], paths_of: Callable[[Any], PathTable], *, where: str) -> Parts[T]:
    """Return splits, after a warning if images are held out that are trained on too: results on them say nothing.

    The same file counts, links followed, and a copy; see :func:`_copied`.
    """
    if parts.train is None:
        return parts
    trained = _files(paths_of(parts.train))
    held: dict[str, str] = {}
    for part in (parts.val, parts.test):
        held |= {} if part is None else _files(paths_of(part))
    same = [file for file in held if file in trained]
    if both := same + _copied(trained, [file for file in held if file not in trained]):
        found = f"{len(both):,} of {len(held):,} images held out are trained on too, the same files or copies"
        said = f"{where}: {found}, the first: {held[both[0]]}; results on them say nothing"
        warnings.warn(said, RefconvWarning, stacklevel=2)
    return parts


def _copied(trained: Iterable[str], held: Iterable[str]) -> list[str]:
    """Return the files held out whose name, size and content are those of one trained on.

    What costs more is asked only of files that are alike so far, and each file is read once at most: images of raw
    values may have one size and a few names.
    """
    groups = [([*trained], [*held])]
    for key in (os.path.basename, _size, partial(_digest, most=_HEAD), _digest):
        groups = [alike for group in groups for alike in _alike(*group, key)]
    copies = {file for _, files in groups for file in files}
    return [file for file in held if file in copies]


def _alike(
    trained: list[str], held: list[str], key: Callable[[str], Hashable]
) -> Iterable[tuple[list[str], list[str]]]:
    """Return the groups of files of both kinds whose keys are equal; a file without a key is in none."""
    groups: dict[Hashable, tuple[list[str], list[str]]] = {}
    for file in held:
        groups.setdefault(key(file), ([], []))[1].append(file)
    groups.pop(None, None)
    for file in trained:
        if groups and (found := groups.get(key(file))):
            found[0].append(file)
    return [group for group in groups.values() if group[0]]


def _size(file: str) -> int | None:
    """Return a file's bytes; None of what is empty or cannot be looked at, which is said where it is read."""
    with suppress(OSError):
        return os.stat(file).st_size or None  # noqa: PTH116  (many Path objects cost seconds)
    return None


def _digest(file: str, most: int | None = None) -> bytes | None:
    """Return a digest of a file's content or of its first bytes; None where it cannot be read."""
    hashed = hashlib.blake2b()
    with suppress(OSError), open(file, "rb") as opened:  # noqa: PTH123  (many Path objects cost seconds)
        while piece := opened.read(most or _PIECE):
            hashed.update(piece)
            if most:
                break
        return hashed.digest()
    return None


def _files(paths: PathTable) -> dict[str, str]:
    """Return the path of each file by where it really is; folders are looked at once, as there may be many files."""
    inside: dict[str, tuple[str, set[str]]] = {}
    found: dict[str, str] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in inside:
            with os.scandir(folder or ".") as entries:
                inside[folder] = os.path.realpath(folder), {entry.name for entry in entries if entry.is_symlink()}
        place, links = inside[folder]
        found.setdefault(os.path.realpath(path) if name in links else f"{place}/{name}", path)
    return found


def class_folders(root: Path, extensions: tuple[str, ...] = EXTENSIONS) -> FileImages:
    """List the images below the class folders of one split, in the order of their names."""
    classes = sorted(entry.name for entry in root.iterdir() if _is_followed(str(root), entry.name))
    if not classes:
        expected, remedy = "one folder per class", "put the images of each class into a folder of its name"
        raise DataError("empty folder", where=str(root), expected=expected, found="none", remedy=remedy)
    paths: list[str] = []
    counts = []
    for name in classes:
        found = images_below(root / name, extensions)
        if not found:
            expected, remedy = f"files that end in {', '.join(sorted(extensions))}", "add images or remove the folder"
            where = str(root / name)
            raise DataError("class without images", where=where, expected=expected, found="none", remedy=remedy)
        paths += found
        counts.append(len(found))
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts))
    return FileImages(PathTable(paths), labels, tuple(map(file_name_text, classes)))


def images_below(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[str]:
    """Return the paths of the images anywhere below a folder, sorted.

    Hidden files and folders (``._x.jpg``, ``.ipynb_checkpoints``) and folders of thumbnails and deleted files
    (``@eaDir``, ``__MACOSX``) are passed over. Links to folders are followed, but not to one that contains the link,
    and no folder is read twice.
    """
    found: list[str] = []
    seen = {os.path.realpath(folder)}
    # os.walk, because Path.walk is not in Python 3.10 and Path.rglob does not follow links to folders.
    for place, folders, files in os.walk(folder, followlinks=True):
        entered = []
        for name in sorted(folders):
            real = os.path.realpath(Path(place, name))
            if real not in seen and _is_followed(place, name):
                seen.add(real)
                entered.append(name)
        folders[:] = entered
        found += [
            os.path.join(place, name)  # noqa: PTH118  (a million Path objects cost seconds)
            for name in files
            if name.lower().endswith(extensions) and not name.startswith(".")
        ]
    return sorted(found)


def _is_followed(place: str, name: str) -> bool:
    """Say whether an entry is a folder that may hold images of its own; a link to a folder around it is none."""
    path = Path(place, name)
    if name.startswith(".") or name in _NO_IMAGES or not path.is_dir():
        return False
    return not (path.is_symlink() and Path(place).resolve().is_relative_to(path.resolve()))
