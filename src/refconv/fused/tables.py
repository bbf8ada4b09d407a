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
        capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
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
        spare = self._spare.pop(name, None) if capturing else None
        pinned = host.pin_memory() if spare is None or spare.shape != host.shape else spare.copy_(host)
        if capturing:
            self._captured.append(pinned)
        elif name not in self._spare or self._spare[name].shape != host.shape:
            self._spare[name] = torch.empty_like(host, pin_memory=True)
        return pinned.to(device, non_blocking=True)
