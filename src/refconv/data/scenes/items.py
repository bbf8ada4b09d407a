"""What scenes are composed of: the images of a small data set, cut out, in pools that share none."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from refconv.data.memory import Source
from refconv.data.scenes.composition import Item
from refconv.data.sources import SOURCES
from refconv.data.splits import stratified_split
from refconv.errors import DataError, SettingError

VAL_SHARE = 0.1
"""Share of the source's training images that scenes to validate on are composed of."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """How an item is told from the black around it.

    Attributes:
        threshold: brightness, from 0 to 1, from which a pixel belongs to the item.
        closed: whether gaps of one or two pixels, dark parts of the item, belong to it too.
        mirror: whether the item is the same thing when left and right are exchanged.
    """

    threshold: float
    closed: bool
    mirror: bool


CUTS = {
    "fashion-mnist": Cut(threshold=0.1, closed=True, mirror=True),
    "digits": Cut(threshold=0.25, closed=False, mirror=False),
}


class Items:
    """The items of one pool.

    Args:
        source: the data set.
        images: uint8 [n, 1, H, W], a pool of it.
        labels: their classes, from 0 on, int64 [n].
        cut: how they are cut out.
    """

    def __init__(self, source: Source, images: torch.Tensor, labels: torch.Tensor, cut: Cut) -> None:
        self._images, self._labels, self._unit, self._cut = images[:, 0], labels, source.unit, cut

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Item:
        """Return one item, cut out."""
        from scipy.ndimage import binary_closing

        pixels = self._images[index].numpy().astype(np.float32) * np.float32(self._unit)
        mask = pixels >= self._cut.threshold
        if self._cut.closed:
            # With a border, as scipy takes what is outside for background and would eat into items at the edge.
            mask = binary_closing(np.pad(mask, 2), np.ones((3, 3)))[2:-2, 2:-2]
        return Item(pixels, mask, int(self._labels[index]) + 1)


def pools(name: str, root: str | None = None) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Open a source of items.

    Args:
        name: ``fashion-mnist`` or ``digits``.
        root: the folder it lies in, where it is not found by itself.

    Returns:
        Per split ``train``, ``val`` and ``test``, items that the others do not hold; and the names of the classes.

    Raises:
        SettingError: if there is no such source.
        DataError: if it cannot be opened.
    """
    if name not in CUTS:
        raise SettingError("unknown source of items", where="source", expected=" or ".join(CUTS), found=repr(name))
    try:
        source = SOURCES[name](root)
    except DataError as error:
        remedies = [remedy for remedy in (error.remedy, "or compose digits: --source digits") if remedy]
        remedy = error.remedy if name == "digits" else ", ".join(remedies)
        raise DataError(
            error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy
        ) from error
    train, val = stratified_split(source.train_labels, VAL_SHARE, purpose="scenes")
    cut = CUTS[name]
    return {
        "train": Items(source, source.train[train], source.train_labels[train], cut),
        "val": Items(source, source.train[val], source.train_labels[val], cut),
        "test": Items(source, source.test, source.test_labels, cut),
    }, source.class_names
