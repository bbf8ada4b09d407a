"""Sharded tensors (torch's DTensor, as FSDP2 makes them), recognised without loading torch's distributed package."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Return whether each process holds a part of the tensor only."""
    return hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """Return the part that this process holds; of an ordinary tensor, all of it."""
    return cast("Any", tensor).to_local() if is_sharded(tensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return the whole tensor; all processes that share it must ask."""
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def sharded_like(whole: Tensor, other: Any) -> Tensor:
    """Return a whole tensor cut as another one is; of what differs between processes, the first one's counts."""
    if not is_sharded(other):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, other.device_mesh, other.placements)


def from_local(part: Tensor, other: Any) -> Tensor:
    """Return the tensor of which this process's part is ``part``, cut as ``other`` is."""
    if not is_sharded(other):
        return part
    from torch.distributed.tensor import DTensor

    whole: dict[str, Any] = {"shape": other.shape, "stride": other.stride()}
    return DTensor.from_local(part, other.device_mesh, other.placements, run_check=False, **whole)


def sum_of_parts(part: Tensor, other: Any) -> Tensor:
    """Sum a number over the processes that share ``other``; where it is replicated, equal parts count once."""
    if not is_sharded(other):
        return part
    from torch.distributed.tensor import DTensor, Partial, Replicate

    placements = [Replicate() if placement.is_replicate() else Partial() for placement in other.placements]
    return DTensor.from_local(part, other.device_mesh, placements, run_check=False).full_tensor()
