"""Detectors that divide their losses by the anchors that match an object: SSD, SSDlite and FCOS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import detection
from torchvision.models.detection.ssd import SSD

from refconv.process.distributed import Processes


def divides_by_matches(model: object) -> bool:
    """Say whether a detector divides its losses by the matched anchors of all images of a forward pass."""
    return isinstance(model, (SSD, detection.FCOS))


def whole(network: object) -> object:
    """Return the model in a network that may be wrapped for several processes."""
    return network.module if isinstance(network, DistributedDataParallel) else network


@contextmanager
def matches_of(model: object) -> Iterator[list[int]]:
    """Note how many anchors match an object, for each forward pass in training within the block."""
    part: Any = model.head if isinstance(model, detection.FCOS) else model
    compute = part.compute_loss
    found: list[int] = []

    def noted(targets: Any, outputs: Any, anchors: Any, matched: list[Tensor]) -> Any:
        found.append(sum(int((one >= 0).sum()) for one in matched))
        return compute(targets, outputs, anchors, matched)

    part.compute_loss = noted  # hides the method of the class
    try:
        yield found
    finally:
        del part.compute_loss


def share_of_matches(matches: int, images: int, processes: Processes) -> float:
    """Return what the losses of a share are multiplied by so that all together are divided by the matches of all.

    Without a match they are divided by 1. Shares are then averaged by their images, which is undone here.
    """
    all_matches, all_images = processes.sums([float(matches), float(images)])
    return max(1.0, matches) / max(1.0, all_matches) * all_images / images
