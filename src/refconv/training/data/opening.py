"""Opening data by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from refconv.errors import DataError
from refconv.training.data.augmentation import Augmentation
from refconv.training.data.data import Data
from refconv.training.data.disk import DiskData
from refconv.training.data.folder import folder_images
from refconv.training.data.images import Images
from refconv.training.data.info import DataInfo
from refconv.training.data.memory import MemoryData, per_channel
from refconv.training.data.sources import SOURCES
from refconv.training.data.splits import Parts
from refconv.training.data.timm_names import PREFIXES, STREAMS, timm_images

_OF_OTHER_TASKS = {"scenes", "coco", "voc", "masks", "cityscapes", "images", "photographs"}
DEFAULT_SIZE = 224  # height and width of images whose size is not known


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
    for_training: bool = True,
) -> Data:
    """Open a data set.

    Args:
        name: ``digits``, ``fashion-mnist``, ``mnist1d``, ``folder:PATH``, or a name that timm's
            ``create_dataset`` knows, such as ``torch/cifar10`` or ``hfds/cifar10``.
        root: the folder the data lies in, where it is not found by itself.
        val_split: share of the training samples set aside for validation, stratified by class, whatever the
            run's seed.
        augmentation: what is done to training samples; nothing by default.
        workers: processes that read images from disk; data kept in memory needs none.
        in_chans: channels wanted; by default those of the data.
        img_size: height and width wanted; by default those of the data, or 224 for images on disk.
        mean: per channel, subtracted instead of the data's own mean.
        std: per channel, divided by instead of the data's own.
        for_training: False accepts a folder without training images.

    Raises:
        DataError: if the data is unknown, missing, empty, or not to be had in this form.

    Example:
        >>> data = open_data("digits", val_split=0.1)
        >>> data.info.train_size, data.info.val_size, data.info.test_size, data.info.input_size
        (1294, 144, 359, (1, 8, 8))
        >>> samples, labels = next(data.train_batches(seed=0, epoch=0, batch_size=32))
        >>> samples.shape, labels.shape
        (torch.Size([32, 1, 8, 8]), torch.Size([32]))
    """
    augmentation = augmentation or Augmentation()
    if name in SOURCES:
        return MemoryData(
            name,
            SOURCES[name](root),
            val_split=val_split,
            augmentation=augmentation,
            in_chans=in_chans,
            img_size=img_size,
            mean=mean,
            std=std,
        )
    images, native = _images(name, root, val_split=val_split, for_training=for_training)
    named = images.test if images.train is None else images.train
    assert named is not None
    class_names = named.class_names
    in_chans = 3 if in_chans is None else in_chans
    size = img_size or native or DEFAULT_SIZE
    info = DataInfo(
        name=name,
        num_classes=len(class_names),
        in_chans=in_chans,
        input_size=(in_chans, size, size),
        mean=per_channel(mean or of_imagenet(IMAGENET_DEFAULT_MEAN, in_chans), in_chans, where=f"mean of {name}"),
        std=per_channel(std or of_imagenet(IMAGENET_DEFAULT_STD, in_chans), in_chans, where=f"std of {name}"),
        class_names=class_names,
        train_size=0,
        val_size=0,
        test_size=0,
    )
    # Images that have the input size already are not zoomed into.
    crop_pct = 1.0 if native == size else None
    return DiskData(info, images, val_split=val_split, augmentation=augmentation, workers=workers, crop_pct=crop_pct)


def _images(
    name: str, root: str | None, *, val_split: float, for_training: bool
) -> tuple[Parts[Images | None], int | None]:
    """Find images by name; the second part is their height and width where these are known and equal.

    Raises:
        DataError: if the data is unknown, missing or empty.
    """
    kind, colon, path = name.partition(":")
    if colon and kind == "folder":
        parts = folder_images(Path(root or "", path), val_split=val_split, for_training=for_training)
        return parts, None
    prefix, slash, _ = name.partition("/")
    if slash and prefix.lower() in (*PREFIXES, *STREAMS):
        found = timm_images(name, root, val_split=val_split)
        return found, found.train.native_size
    if kind in _OF_OTHER_TASKS:
        raise DataError(
            "no data for classification", where=name, remedy="give --task detection, segmentation or restoration"
        )
    known = [*SOURCES, "folder:PATH", "torch/NAME", "hfds/NAME"]
    close = difflib.get_close_matches(name.lower(), SOURCES, n=2, cutoff=0.5)
    raise DataError(
        "unknown data",
        where=name,
        expected=" or ".join(close) or ", ".join(known),
        remedy=f"write folder:{name} to read that folder" if Path(root or "", name).is_dir() else None,
    )


def of_imagenet(values: tuple[float, ...], in_chans: int) -> tuple[float, ...]:
    """Return a statistic of ImageNet's three channels; for grey images, the mean of them."""
    return values if in_chans == len(values) else (round(sum(values) / len(values), 4),)
