"""Batches that are gone through many times: those that fit are kept in memory, so that images are decoded once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from refconv.analysis.batches import Batch

MEMORY = 2**30
"""Bytes of samples that are kept."""


class KeptBatches:
    """Starts a new pass through batches at each call, from memory as far as they are there.

    Args:
        start: begins at the first batch, the same ones in the same order each time.
        memory: bytes of samples that are kept; batches beyond are read in every pass.

    Example:
        >>> import torch
        >>> read = []
        >>> def start():
        ...     for number in range(3):
        ...         read.append(number)
        ...         yield torch.zeros(2, 1), torch.full((2,), number)
        >>> batches = KeptBatches(start)
        >>> [len(list(batches())) for _ in range(2)], read
        ([3, 3], [0, 1, 2])
    """

    def __init__(self, start: Callable[[], Iterator[Batch]], memory: int = MEMORY) -> None:
        self._start, self._memory = start, memory
        self._kept: list[Batch] = []
        self._source: Iterator[Batch] = iter(())
        self._following = -1  # the number of the batch that the source gives next
        self._count: int | None = None  # of all batches, once known

    def __call__(self) -> Iterator[Batch]:
        """Start a pass."""
        for number in itertools.count():
            if number < len(self._kept):
                yield self._kept[number]
            elif number == self._count or (batch := self._read(number)) is None:
                return
            else:
                yield batch

    def _read(self, number: int) -> Batch | None:
        """Read a batch from where the source is, else from a new one; None behind the last."""
        if number != self._following:
            self._source = itertools.islice(self._start(), number, None)
        batch = next(self._source, None)
        if batch is None:
            self._count, self._following = number, -1
            return None
        self._following = number + 1
        size = batch[0].numel() * batch[0].element_size()
        if number == len(self._kept) and size <= self._memory:
            self._memory -= size
            self._kept.append(batch)
        return batch
