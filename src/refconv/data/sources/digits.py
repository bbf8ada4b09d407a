"""Scikit-learn's handwritten digits: 1,797 images of 8 x 8, inside the package."""

from __future__ import annotations

import functools

import torch

from refconv.data.memory import Source
from refconv.data.splits import stratified_split
from refconv.errors import DataError


def open_digits(root: str | None = None) -> Source:
    """Return the digits with a fixed, stratified fifth of them as the test split.

    Args:
        root: must be None, as the data is inside scikit-learn.

    Raises:
        DataError: if a folder is given.
    """
    refuse_folder("digits", root)
    return _digits()


def refuse_folder(name: str, root: str | None) -> None:
    """Refuse a folder for data that is not read from one.

    Args:
        name: the data set.
        root: the folder that the user gave.

    Raises:
        DataError: if a folder is given.
    """
    if root is not None:
        raise DataError("is not read from a folder", where=name, found=root, remedy="leave the data folder out")


@functools.cache
def _digits() -> Source:
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 8, 8)  # whole numbers from 0 to 16
    labels = torch.from_numpy(classes).long()
    train, test = stratified_split(labels, 0.2, purpose="digits test")
    return Source(
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        class_names=tuple("0123456789"),
        unit=1 / 16,
        mean=(0.3050,),
        std=(0.3760,),
    )
