"""Masks as runs of equal pixels, the way COCO writes them: down the columns, zeros first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encoded(mask: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs of a mask, the first one of zeros (and perhaps empty).

    Example:
        >>> encoded(np.array([[0, 1], [1, 1]], dtype=bool)), encoded(np.array([[1, 0], [0, 0]], dtype=bool))
        ([1, 3], [0, 1, 3])
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths: list[int] = np.diff([0, *changes.tolist(), flat.size]).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def decoded(counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask [H, W] of such runs, which must fill it."""
    lengths = np.asarray(counts, dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"runs of {lengths.sum()} pixels for a mask of {height} x {width}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")
