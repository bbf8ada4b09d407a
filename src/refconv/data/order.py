"""Which sample comes when: the order of an epoch and its division over processes.

Everything here is a function of its arguments, so a run can start at any batch of any epoch, and one process
with a batch of 2 B sees in each step the samples that two processes with batches of B see together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refconv.errors import DataError
from refconv.process.randomness import hashes


def epoch_order(indices: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return the sample indices in the order of one epoch.

    Args:
        indices: the samples of the training split, int64 [n], in any order.
        seed: the run's seed.
        epoch: the epoch, counted from 0.

    Returns:
        int64 [n]: the same indices, sorted by a hash of (seed, epoch, index).
    """
    indices = indices.sort().values
    return indices[torch.argsort(hashes(seed, epoch, indices), stable=True)]


def batch_count(size: int, *, batch_size: int, world_size: int = 1) -> int:
    """Return how many batches an epoch has.

    An incomplete last batch is dropped, unless the whole set is smaller than one batch.

    Args:
        size: samples of the training split.
        batch_size: samples per batch and process.
        world_size: number of processes.

    Raises:
        DataError: if there are fewer samples than processes.
    """
    assert batch_size > 0, batch_size
    if size < world_size:
        raise DataError(
            "too few training samples",
            expected=f"at least one for each of {world_size} processes",
            found=str(size),
            remedy="start fewer processes or give more data",
        )
    return max(1, size // (batch_size * world_size))


def train_index_batches(
    indices: Tensor, *, seed: int, epoch: int, batch_size: int, first_batch: int = 0, rank: int = 0, world_size: int = 1
) -> list[Tensor]:
    """Return the batches of sample indices that one process sees in one epoch, from ``first_batch`` on.

    Args:
        indices: the samples of the training split, int64 [n].
        seed: the run's seed.
        epoch: the epoch, counted from 0.
        batch_size: samples per batch and process.
        first_batch: how many batches to leave out at the start.
        rank: this process.
        world_size: number of processes.

    Raises:
        DataError: if there are fewer samples than processes.
    """
    assert 0 <= rank < world_size, (rank, world_size)
    count = batch_count(len(indices), batch_size=batch_size, world_size=world_size)
    assert 0 <= first_batch <= count, (first_batch, count)
    order = epoch_order(indices, seed=seed, epoch=epoch)
    together = order.split(batch_size * world_size)[first_batch:count]
    return [batch.tensor_split(world_size)[rank] for batch in together]


def eval_index_batches(size: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Tensor]:
    """Return the batches of positions that one process evaluates: every ``world_size``-th, none twice.

    Args:
        size: samples of the split.
        batch_size: samples per batch and process.
        rank: this process.
        world_size: number of processes.

    Example:
        >>> eval_index_batches(5, batch_size=2, rank=0, world_size=2)
        [tensor([0, 2]), tensor([4])]
    """
    assert batch_size > 0, batch_size
    assert 0 <= rank < world_size, (rank, world_size)
    mine = torch.arange(size)[rank::world_size]
    return list(mine.split(batch_size)) if len(mine) else []
