"""Tables of whole numbers on a device that tell launches where their work is, written without waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor


class Tables:
    """Tables that are kept while what they say stays the same.

    On an accelerator they are copied from pinned memory, which torch hands out again only when a copy is over, so that
    nothing waits. While a CUDA graph is captured, memory cannot be pinned, and the graph will read again what it has
    read: then a spare is taken that was pinned before, and all that was used is kept.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Hashable, Tensor]] = {}
        self._spare: dict[Hashable, Tensor] = {}
        self._captured: list[Tensor] = []

    def table(
        self, name: Hashable, says: Hashable, numbers: Callable[[], Sequence[int]], device: torch.device
    ) -> Tensor:
        """Return the table ``name``; it is written anew where it says anything else than it did.

        Args:
            name: what it is for.
            says: what its numbers follow from; compared with what they followed from before.
            numbers: makes the numbers.
            device: where it is to be.
        """
        capturing = _capturing(device)
        kept = self._kept.get(name)
        if kept is None or kept[0] != says:
            kept = self._kept[name] = says, self._written(name, numbers(), device, capturing=capturing)
        if capturing:
            self._captured.append(kept[1])
        return kept[1]

    def _written(self, name: Hashable, numbers: Sequence[int], device: torch.device, *, capturing: bool) -> Tensor:
        host = torch.tensor(numbers, dtype=torch.int64)
        if device.type == "cpu":
            return host
        spare = self._spare.get(name)
        fits = spare is not None and spare.shape == host.shape
        if not capturing:
            pinned = _pinned(host)
            if not fits:
                self._spare[name] = _pinned(host)
            return pinned.copy_(host).to(device, non_blocking=True)
        pinned = self._spare.pop(name) if fits else _pinned(host)
        self._captured.append(pinned)
        return pinned.copy_(host).to(device, non_blocking=True)


def _capturing(device: torch.device) -> bool:
    """Return whether what is done on a device now becomes part of a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _pinned(like: Tensor) -> Tensor:
    """Return pinned memory of the same size."""
    return torch.empty_like(like, pin_memory=True)
