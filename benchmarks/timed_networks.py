"""The networks whose steps are timed: timm's by their names, and a ResNet-20 for images of 32 px."""

from __future__ import annotations

import itertools

import timm
import torch.nn.functional as F
from torch import Tensor, nn

RESNET20 = "resnet20"


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut that pads channels with zeros, as for CIFAR."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        found: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        missing = found.shape[1] - x.shape[1]
        return F.relu(found + F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, missing)))


def resnet20() -> nn.Module:
    """Return the ResNet-20 for images of 32 px (He et al. 2016, section 4.2)."""
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(*pair) for pair in itertools.pairwise(widths)]
    stem = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    network = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    network.num_classes = 10  # type: ignore[assignment]  # as timm's networks say
    return network


def create(model: str) -> nn.Module:
    """Return a network by name."""
    if model == RESNET20:
        return resnet20()
    network: nn.Module = timm.create_model(model)
    return network
