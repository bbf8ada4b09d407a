"""Small inputs on which any model of timm and torchvision runs and trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from architectures.names import Name, family

# Models that take any size are tried on these in turn: the first on which their forward works is kept.
_SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 299)
_FRAMES = 8
_LARGE = 300  # above this a batch of one has enough positions for batch norm


@dataclass(frozen=True)
class Batch:
    """Inputs of a forward in eval mode, and the targets that come after them while training (detectors)."""

    inputs: tuple[Any, ...]
    targets: tuple[Any, ...] = ()

    @property
    def shape(self) -> list[int]:
        """Shape of the first input."""
        first = next(leaf for leaf in pytree.tree_leaves(self.inputs) if isinstance(leaf, Tensor))
        return list(first.shape)


def batches(name: Name, model: nn.Module) -> Iterator[Batch]:
    """Yield batches for a model, the smallest first: not every model can take every one."""
    make = _MAKERS.get(family(name).partition(".")[0], _images)
    for size in _sizes(model):
        yield make(size)


def outputs(model: nn.Module, batch: Batch) -> list[Tensor]:
    """Return all tensors that a model gives in eval mode."""
    model.eval()
    _keep_size(model, batch)
    with torch.no_grad():
        return _tensors(model(*batch.inputs))


def training_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return a scalar that depends on every output in training mode: a detector's losses, else the mean square."""
    model.train()
    _keep_size(model, batch)
    result = model(*batch.inputs, *batch.targets)
    if batch.targets:
        return torch.stack(list(result.values())).sum()
    values = [value for value in _tensors(result) if value.is_floating_point()]
    return torch.stack([value.float().square().mean() for value in values]).sum()


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def _keep_size(model: nn.Module, batch: Batch) -> None:
    """Let a detector take its images as they are instead of enlarging them, where it can."""
    transform: Any = model.transform if batch.targets else None  # torchvision's GeneralizedRCNNTransform
    if transform is not None and transform.fixed_size is None:
        transform.min_size, transform.max_size = batch.shape[-1:], batch.shape[-1]


def _sizes(model: nn.Module) -> list[tuple[int, ...]]:
    config = getattr(model, "default_cfg", {})
    wanted = tuple(config.get("input_size", (3, 224, 224)))
    if config.get("fixed_input_size"):
        return [wanted]
    channels = wanted[0]
    return [*((channels, size, size) for size in _SIZES), wanted]


def _images(size: tuple[int, ...]) -> Batch:
    count = 1 if size[-1] > _LARGE else 2
    return Batch((torch.randn(count, *size),))


def _video(size: tuple[int, ...]) -> Batch:
    frames = _FRAMES if size[-1] < 224 else 2 * _FRAMES
    return Batch((torch.randn(1 if frames > _FRAMES else 2, size[0], frames, *size[1:]),))


def _image_pair(size: tuple[int, ...]) -> Batch:
    return Batch((torch.rand(2, *size), torch.rand(2, *size)))


def _detection(size: tuple[int, ...]) -> Batch:
    """Two images with two boxes each."""
    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.7], [0.3, 0.2, 0.9, 0.8]]) * size[-1]
    target = {
        "boxes": boxes,
        "labels": torch.tensor([1, 1]),
        "masks": (torch.rand(2, *size[1:]) > 0.5).to(torch.uint8),
        "keypoints": torch.cat([boxes[:, None, :2].expand(2, 17, 2) + 2, torch.ones(2, 17, 1)], 2),
    }
    return Batch(([torch.rand(size), torch.rand(size)],), ([target, target],))


_MAKERS = {"video": _video, "optical_flow": _image_pair, "detection": _detection}
