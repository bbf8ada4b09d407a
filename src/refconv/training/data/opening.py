"""Opening data by name."""

from __future__ import annotations

import difflib

from refconv.errors import DataError
from refconv.training.data.augmentation import Augmentation
from refconv.training.data.data import Data
from refconv.training.data.memory import MemoryData
from refconv.training.data.sources import SOURCES


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
    close = difflib.get_close_matches(name, [*SOURCES, "folder:PATH", "torch/cifar10"], n=3, cutoff=0.4)
    raise DataError(
        "unknown data",
        where=name,
        expected=" or ".join(close)
        or ", ".join([*SOURCES, "folder:PATH or a name of timm's such as torch/cifar10"]),
    )
