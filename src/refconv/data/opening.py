"""Opening data by name: in memory, class folders, tables, arrays, Arrow files and shards, and what timm knows."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_dataset
from torch import Tensor

from refconv.data.arrays import (
    ARRAYS,
    SOUNDS,
    ArrayRows,
    is_tensor_file,
    layout_of,
    open_arrays,
    open_files,
    statistics,
)  # fmt: skip
from refconv.data.arrow import PREFIX, arrow_images
from refconv.data.augmentation import Augmentation
from refconv.data.class_names import Classes, listed
from refconv.data.dataset import Data
from refconv.data.disk import DiskData
from refconv.data.images import EXTENSIONS, FileImages, Images, apart, class_folders, open_image, reading
from refconv.data.memory import MemoryData
from refconv.data.own import OF_OTHER_TASKS, format_meant, is_own, open_own
from refconv.data.preprocessing import DEFAULT_SIZE, FLAGS, RECIPE, Statement, common_size, resolve, says, stated_size
from refconv.data.shards import shard_images
from refconv.data.sources import SOURCES, Source, cache_folder
from refconv.data.splits import HELD_OUT, Parts, held_out
from refconv.data.tables import open_table
from refconv.data.targets import CLASSES, Wanted
from refconv.errors import DataError, in_one_line
from refconv.paths import expanded, path_of

PREFIXES = ("torch", "hfds")
STREAMS = ("wds", "tfds", "hfids")
_DOWNLOADED = ("cifar10", "cifar100", "mnist", "kmnist", "qmnist", "fashion_mnist")
_LOOKED_AT = 64  # images, about, whose size is read where nothing else says it


def open_data(
    name: str,
    *,
    root: str | None = None,
    val_split: float = 0.0,
    augmentation: Augmentation | None = None,
    workers: int = 0,
    in_chans: int | None = None,
    img_size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    stated: Sequence[Statement] = (),
    for_training: bool = True,
    wanted: Wanted = CLASSES,
) -> Data:
    """Open a data set.

    Args:
        name: ``digits``, ``fashion-mnist``, ``mnist1d``, ``folder:PATH`` of class folders, ``table:PATH`` of images and
            a CSV or JSON file of their targets, ``arrays:PATH`` of arrays, ``hf:PATH`` (what ``datasets`` saved;
            :mod:`refconv.data.arrow`), ``wds:PATH`` (shards; :mod:`refconv.data.shards`), a name that timm's
            ``create_dataset`` knows, such as ``torch/cifar10`` or ``hfds/cifar10``, or ``module:function`` of the
            user's own datasets, which bring their validation split and augmentation themselves
            (:mod:`refconv.data.own`).
        root: the folder of the data, where it is not found by itself.
        val_split: share of the training samples for validation, stratified by class, whatever the run's seed.
        augmentation: what is done to training samples.
        workers: processes that read images from disk.
        in_chans: channels; by default those of the data.
        img_size: height and width; like ``mean`` and ``std`` per channel, it wins over what is ``stated``.
        mean: see ``img_size``.
        std: see ``img_size``.
        stated: what flags, recipe and model say about preprocessing, in this order; the data decide the rest.
        for_training: evaluation crops no more than training; False accepts a folder without training images.
        wanted: what samples are compared with; by default the class of each.

    Raises:
        DataError: if the data is unknown, missing, empty, or not to be had in this form.

    Example:
        >>> data = open_data("digits", val_split=0.1)
        >>> data.info.train_size, data.info.val_size, data.info.test_size, data.info.input_size
        (1294, 144, 359, (1, 8, 8))
        >>> [part.shape for part in next(data.train_batches(seed=0, epoch=0, batch_size=32))]
        [torch.Size([32, 1, 8, 8]), torch.Size([32])]
    """
    augmentation = augmentation or Augmentation()
    stated = (Statement(FLAGS, {"img_size": img_size, "mean": mean, "std": std}), *stated)
    kind, colon, path = name.partition(":")
    memory: dict[str, Any] = {"in_chans": in_chans, "stated": stated, "workers": workers}
    if name in SOURCES:
        return MemoryData(name, _wanted_of(SOURCES[name](root), wanted, name), val_split, augmentation, **memory)
    if colon and kind == "arrays":
        source, val_split = _arrays(path_of(root, path), wanted, val_split)
        return MemoryData(name, source, val_split, augmentation, **memory)
    if is_own(name):
        augmented = None if augmentation == Augmentation() else augmentation
        asked = {"data_dir": root, "val_split": val_split, "augmentation": augmented}
        for one in stated:
            asked |= {key: value for key, value in one.values.items() if value and one.by in {FLAGS, RECIPE}}
        return open_own(name, asked=asked, in_chans=in_chans, workers=workers, wanted=wanted)
    images, native = _images(name, root, wanted, val_split=val_split, for_training=for_training)
    shown = images.test if images.train is None else images.train
    assert shown is not None
    if isinstance(shown, FileImages) and is_tensor_file(shown.where(0), in_chans):
        assert images.train is None or isinstance(images.train, FileImages)
        return MemoryData(name, _of_files(images, in_chans, name), val_split, augmentation, **memory)
    whole = for_training and augmentation.scale is None
    said = [*stated, *of_images(shown, native, stated, whole=whole)]
    preprocessing = resolve(said, in_chans=3 if in_chans is None else in_chans, where=name)
    return DiskData(name, images, val_split, augmentation, workers=workers, preprocessing=preprocessing)


def of_images(
    images: Images, native: int | None, stated: Sequence[Statement], *, whole: bool = False
) -> tuple[Statement, ...]:
    """Return what images, squares of a ``native`` side where that is known, say about their preprocessing.

    Where nobody states the size, it is that of a sample of the images; see
    :func:`refconv.data.preprocessing.common_size`. Where nobody states the crop, nothing is cut off images of the size
    wanted, nor where training takes the ``whole`` image.
    """
    own = Statement("", {})
    if stated_size(stated) is None or not says(stated, "crop_pct"):
        own = common_size(_sampled_sizes(images) if native is None else [(native, native)])
    if not says(stated, "crop_pct"):
        side = (stated_size([*stated, own]) or (DEFAULT_SIZE,))[0]
        if own.values.get("img_size") == side:
            return own, Statement(own.by, {"crop_pct": 1.0})
        if whole:
            return own, Statement("as in training", {"crop_pct": 1.0})
    return (own,)


def _sampled_sizes(images: Images) -> Iterator[tuple[int, int]]:
    """Yield width and height of about 64 images, evenly spread over all of them."""
    count = len(images.labels)
    for index in range(0, count, max(1, count // _LOOKED_AT)):
        with reading(images.where(index)), images.open(index) as image:
            yield image.size


@dataclasses.dataclass(frozen=True)
class _Retargeted:
    """Images with other targets than their own."""

    images: Images
    labels: Tensor
    class_names: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        return self.images.open(index)

    def where(self, index: int) -> str:
        return self.images.where(index)


def _wanted_of(source: Source, wanted: Wanted, name: str) -> Source:
    """Return a set of classes with the targets that are wanted."""
    train, names = wanted.of_classes(source.train_labels, source.class_names, where=name)
    test, _ = wanted.of_classes(source.test_labels, source.class_names, where=name)
    return dataclasses.replace(source, train_labels=train, test_labels=test, class_names=names)


def _arrays(path: Path, wanted: Wanted, val_split: float) -> tuple[Source, float]:
    """Return samples and targets of arrays on disk, and the share of the training samples to validate on."""
    arrays = open_arrays(path)
    val, test = held_out([part for part in ("train", "val", "test") if f"x_{part}" in arrays], where=str(path),
                         val_split=val_split)  # fmt: skip
    axes = layout_of(arrays, path)
    classes = {name: array.reshape(len(array), -1) for name, array in arrays.items() if name.startswith("y_")}
    whole = all(array.dtype.kind in "iu" and array.shape[1] == 1 for array in classes.values())
    largest = max(int(array.max(initial=0)) for array in classes.values()) if whole else 0
    given = arrays.get("class_names")
    names = tuple(map(str, range(largest + 1) if given is None else given.tolist()))

    def targets(part: str) -> tuple[Tensor, tuple[str, ...]]:
        values = classes[f"y_{part}"]
        if whole and wanted.kind != "values":
            found = torch.from_numpy(values[:, 0].astype("int64"))
            if len(found) and not 0 <= int(found.min()) <= int(found.max()) < len(names):
                expected, shown = f"0 to {len(names) - 1}", f"{int(found.min())} to {int(found.max())}"
                raise DataError("no such class", where=f"{path}, y_{part}", expected=expected, found=shown)
            return wanted.of_classes(found, names, where=str(path))
        count = values.shape[1]
        usual = ("value",) if count == 1 else tuple(map(str, range(count)))
        columns = names if given is not None and len(names) == count else usual
        return wanted.of_columns(torch.from_numpy(values.astype("float32")), columns, where=str(path))

    rows = {part: ArrayRows(arrays[f"x_{part}"], axes, f"{path}, x_{part}") for part in ("train", val, test) if part}
    mean, std = statistics(rows["train"])
    (train_labels, columns), (test_labels, _) = targets("train"), targets(test)
    more: dict[str, Any] = {} if val is None else {"val": rows[val], "val_labels": targets(val)[0]}
    source = Source(rows["train"], train_labels, rows[test], test_labels, columns, unit=1.0, mean=mean, std=std, **more)
    return source, val_split


def _of_files(images: Parts[Any], in_chans: int | None, name: str) -> Source:
    """Return sounds, arrays and images of many channels, one in a file, with the targets of the images."""
    trained = images.test if images.train is None else images.train

    def paths(part: FileImages) -> list[str]:
        return [part.where(index) for index in range(len(part.labels))]

    rows = open_files(paths(trained), in_chans)
    mean, std = statistics(rows)
    tested = open_files(paths(images.test), in_chans, first=rows)
    more: dict[str, Any] = {}
    if images.val is not None:
        more = {"val": open_files(paths(images.val), in_chans, first=rows), "val_labels": images.val.labels}
    labels = trained.labels[:0] if images.train is None else trained.labels
    more |= {"unit": 1.0, "mean": mean, "std": std, "rate": rows.rate}
    return Source(rows, labels, tested, images.test.labels, trained.class_names, **more)


def _images(
    name: str, root: str | None, wanted: Wanted, *, val_split: float, for_training: bool
) -> tuple[Parts[Images | None], int | None]:
    """Find images by name; the second part is their height and width where these are known and equal."""
    kind, colon, path = name.partition(":")
    if colon and kind == "table":
        return open_table(path_of(root, path), wanted, val_split=val_split, for_training=for_training), None
    if colon and kind in _ON_A_DISK:
        parts = _ON_A_DISK[kind](path_of(root, path), val_split=val_split, for_training=for_training)
        return _retargeted(parts, wanted, name), None
    prefix, slash, _ = name.partition("/")
    if slash and prefix.lower() in (*PREFIXES, *STREAMS):
        found = _timm_images(name, root, val_split=val_split)
        return _retargeted(found, wanted, name), found.train.native_size
    if kind in OF_OTHER_TASKS:
        other = "give --task detection, segmentation or restoration"
        raise DataError("no data for classification", where=name, remedy=other)
    known = [
        *SOURCES, "folder:PATH", "table:PATH", "arrays:PATH", "hf:PATH", "wds:PATH", "module:function", "torch/NAME",
        "hfds/NAME",
    ]  # fmt: skip
    close = difflib.get_close_matches(name.lower(), SOURCES, n=2, cutoff=0.5)
    expected = " or ".join(close) or ", ".join(known)
    place, kinds = path_of(root, name), {".csv": "table", ".tsv": "table", ".json": "table", ".npz": "arrays"}
    remedy = f"write folder:{name} to read that folder" if place.is_dir() else format_meant(name)
    if place.is_file() and place.suffix.lower() in kinds:
        remedy = f"write {kinds[place.suffix.lower()]}:{name} to read that file"
    raise DataError("unknown data", where=name, expected=expected, remedy=remedy)


def _retargeted(parts: Parts[Any], wanted: Wanted, name: str) -> Parts[Any]:
    """Return images with the targets that are wanted, made of their classes."""
    if wanted.kind == "classes":
        return parts

    def made(part: Images | None) -> Images | None:
        if part is None:
            return None
        labels, names = wanted.of_classes(part.labels, part.class_names, where=name)
        if isinstance(part, FileImages):
            return dataclasses.replace(part, labels=labels, class_names=names)
        return _Retargeted(part, labels, names)

    return Parts(made(parts.train), made(parts.val), made(parts.test))


def folder_images(path: Path, *, val_split: float, for_training: bool = True) -> Parts[FileImages | None]:
    """List the images of every split; a folder with neither ``train`` nor a held-out folder is the test split.

    The held-out folders may hold some of the training folder's classes only; labels are those of the training folder.

    Raises:
        DataError: if a folder is missing, a class is empty, or a held-out folder has a class that ``train`` has not.
    """
    if not path.is_dir():
        raise DataError("no such folder", where=f"folder:{path}", remedy="give the folder that holds train and val")
    names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    if "train" not in names and for_training:
        expected = "a folder train with one folder per class"
        found = listed(sorted(names), 12) if names else "no folders"
        remedy = f"put the images to train on into {path / 'train'}"
        raise DataError("no training images", where=str(path), expected=expected, found=found, remedy=remedy)
    if not {"train", *HELD_OUT} & {*names}:
        return Parts(train=None, val=None, test=_class_folders(path))
    val, test = held_out(names, where=str(path), val_split=val_split)
    train = _class_folders(path / "train") if "train" in names else None
    tested, validated = _class_folders(path / test), None if val is None else _class_folders(path / val)
    classes = Classes((tested if train is None else train).class_names, remedy="give the splits the same class folders")
    labelled = None if validated is None else _labelled(validated, classes, path / str(val))
    whole = Parts(train, labelled, _labelled(tested, classes, path / test))
    return apart(whole, lambda part: part.paths, where=str(path))


_ON_A_DISK: dict[str, Callable[..., Parts[Any]]] = {
    "folder": folder_images, PREFIX: arrow_images, "wds": shard_images,
}  # fmt: skip


def _class_folders(root: Path) -> FileImages:
    """List images or, where there are none, sounds or arrays below class folders."""
    others = (*SOUNDS, *ARRAYS)
    found = {Path(name).suffix.lower() for _, _, names in os.walk(root) for name in names}
    return class_folders(root, others if found & {*others} and not found & {*EXTENSIONS} else EXTENSIONS)


def _labelled(part: FileImages, classes: Classes, where: Path) -> FileImages:
    """Return the images of a split with the labels of the training folder."""
    outputs = torch.tensor(classes.match(part.class_names, where=str(where)).outputs)
    return dataclasses.replace(part, labels=outputs[part.labels], class_names=classes.names)


class TimmImages:
    """A data set of timm's or torchvision's as :class:`~refconv.data.images.Images`.

    Images are read through timm's reader and not through its data set, which puts the next sample in the place
    of an unreadable one.
    """

    def __init__(self, name: str, dataset: Any) -> None:
        self._name, self._dataset = name, dataset
        self._reader = getattr(dataset, "reader", None)
        self.labels = _labels(name, dataset, self._reader)
        self.class_names = _class_names(dataset, self._reader, self.labels)

    def open(self, index: int) -> Image.Image:
        """Return one image, perhaps not decoded yet."""
        if self._reader is not None:
            # The whole file at once: PIL does not close a file that it was given open.
            with self._reader[index][0] as file:
                return open_image(io.BytesIO(file.read()))
        image = self._dataset[index][0]
        assert isinstance(image, Image.Image), type(image)
        return image

    def where(self, index: int) -> str:
        """Name one image."""
        inside = "" if self._reader is None else f" ({self._dataset.filename(index)})"
        return f"image {index} of {self._name}{inside}"

    @property
    def native_size(self) -> int | None:
        """Height and width where torchvision keeps all images as one array of squares, else None."""
        shape: tuple[int, ...] = getattr(getattr(self._dataset, "data", None), "shape", ())
        return int(shape[1]) if len(shape) >= 3 and shape[1] == shape[2] else None


def _timm_images(name: str, root: str | None, *, val_split: float) -> Parts[TimmImages]:
    """Open the splits of a data set by timm's name."""
    prefix = name.partition("/")[0].lower()
    if prefix in STREAMS:
        what = "a streaming data set: its samples cannot be read by index, so a run could not be resumed exactly"
        remedy = "shards on a disk are read as wds:PATH, data sets that were saved as hf:PATH"
        raise DataError(what, where=name, expected="folder:PATH, torch/NAME or hfds/NAME", remedy=remedy)
    train = _opened(name, root, "train")
    info = getattr(getattr(train._reader, "dataset", None), "info", None)
    splits = tuple(getattr(info, "splits", None) or ("train", "validation"))
    val, test = held_out(splits, where=name, val_split=val_split)
    return Parts(train, None if val is None else _opened(name, root, val), _opened(name, root, test))


def _opened(name: str, root: str | None, split: str) -> TimmImages:
    prefix, _, rest = name.partition("/")
    if prefix.lower() == "hfds" and importlib.util.find_spec("datasets") is None:
        what, remedy = "needs a package that is not installed", "pip install datasets"
        raise DataError(what, where=name, expected="datasets", remedy=remedy)
    torchvision = prefix.lower() == "torch"
    download = torchvision and rest.lower() in _DOWNLOADED
    place = str(cache_folder()) if torchvision and root is None else expanded(root)
    # torchvision, urllib and datasets raise anything for unknown names, missing or damaged files and missing networks.
    remedy = "check the name, the network and the folder of the data"
    with in_one_line(DataError, f"timm cannot open its split {split!r}", where=name, remedy=remedy):
        return TimmImages(name, create_dataset(name, root=place, split=split, download=download))


def _labels(name: str, dataset: Any, reader: Any) -> Tensor:
    if hasattr(dataset, "targets"):
        listed = dataset.targets
    elif hasattr(reader, "samples"):
        listed = [target for _, target in reader.samples]
    elif hasattr(reader, "label_key"):
        listed = list(reader.dataset[reader.label_key])
    else:
        raise DataError("does not list its labels", where=name, expected="targets, or a reader that lists samples")
    labels = torch.as_tensor(listed, dtype=torch.int64)
    # torchvision's QMNIST has a row of facts per image, the class first.
    return labels if labels.ndim == 1 else labels[:, 0].contiguous()


def _class_names(dataset: Any, reader: Any, labels: Tensor) -> tuple[str, ...]:
    named = getattr(dataset, "class_to_idx", None) or getattr(reader, "class_to_idx", None)
    if named:
        return tuple(str(name) for name, _ in sorted(named.items(), key=lambda item: int(item[1])))
    return tuple(str(label) for label in range(int(labels.max()) + 1))
