"""Opening data by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Data
from refconv.data.disk import DiskData
from refconv.data.folder import folder_images
from refconv.data.images import Images, reading
from refconv.data.memory import MemoryData
from refconv.data.own import is_own, open_own
from refconv.data.preprocessing import DEFAULT_SIZE, FLAGS, Statement, common_size, resolve, says, stated_size
from refconv.data.sources import SOURCES
from refconv.data.splits import Parts
from refconv.data.timm_names import PREFIXES, STREAMS, timm_images
from refconv.errors import DataError

_OF_OTHER_TASKS = {"scenes", "coco", "voc", "masks", "cityscapes", "images", "photographs"}
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
) -> Data:
    """Open a data set.

    Args:
        name: ``digits``, ``fashion-mnist``, ``mnist1d``, ``folder:PATH``, a name that timm's ``create_dataset`` knows,
            such as ``torch/cifar10`` or ``hfds/cifar10``, or ``module:function`` of the user's own datasets, which
            bring their validation split and augmentation themselves (:mod:`refconv.data.own`).
        root: the folder the data lies in, where it is not found by itself.
        val_split: share of the training samples set aside for validation, stratified by class, whatever the
            run's seed.
        augmentation: what is done to training samples; nothing by default.
        workers: processes that read images from disk; data kept in memory needs none.
        in_chans: channels wanted; by default those of the data.
        img_size: height and width wanted, whatever else is stated.
        mean: per channel, subtracted; the same.
        std: per channel, divided by; the same.
        stated: what flags, recipe and model say about preprocessing, in this order; the data decide the rest.
        for_training: whether a model is to be trained on the data, so that evaluation crops no more than training;
            False accepts a folder without training images.

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
    stated = (Statement(FLAGS, {"img_size": img_size, "mean": mean, "std": std}), *stated)
    if name in SOURCES:
        return MemoryData(
            name, SOURCES[name](root), val_split=val_split, augmentation=augmentation, in_chans=in_chans, stated=stated
        )
    if is_own(name):
        return open_own(name, val_split=val_split, augmented=augmentation != Augmentation(), workers=workers)
    images, native = _images(name, root, val_split=val_split, for_training=for_training)
    shown = images.test if images.train is None else images.train
    assert shown is not None
    whole = for_training and augmentation.scale is None
    preprocessing = resolve(
        [*stated, *of_images(shown, native, stated, whole=whole)],
        in_chans=3 if in_chans is None else in_chans,
        where=name,
    )
    return DiskData(
        name, images, val_split=val_split, augmentation=augmentation, workers=workers, preprocessing=preprocessing
    )


def of_images(
    images: Images, native: int | None, stated: Sequence[Statement], *, whole: bool = False
) -> tuple[Statement, ...]:
    """Return what images say about their preprocessing where nothing else does.

    Where nobody states the size, it is that of a sample of the images; see
    :func:`refconv.data.preprocessing.common_size`. Where nobody states the crop, nothing is cut off images of the size
    wanted, nor where training takes whole images.

    Args:
        images: the images.
        native: their height and width, where these are known and equal.
        stated: what flags, recipe and model say.
        whole: whether training takes whole images, without a random crop.

    Raises:
        DataError: if an image cannot be read.
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
