"""SRCNN (Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", arXiv:1501.00092): 9-5-5, times 3.

Where studies look for networks outside.py puts this file and the weights: ``srcnn:srcnn`` for commands.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

UPSCALE = 3


class SRCNN(nn.Module):
    """Enlarges grey images [N, 1, h, w] with values in [0, 1] to [N, 1, 3h, 3w]: bicubic, then three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 9, padding=4)
        self.conv2 = nn.Conv2d(64, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 1, 5, padding=2)

    def forward(self, small: Tensor) -> Tensor:
        """Return the enlarged images; resampling is that of PIL, with which the network was trained."""
        enlarged = F.interpolate(small, scale_factor=float(UPSCALE), mode="bicubic", antialias=True)
        enlarged = F.relu(self.conv1(enlarged))
        enlarged = F.relu(self.conv2(enlarged))
        result: Tensor = self.conv3(enlarged)
        return result


def srcnn() -> nn.Module:
    """Return the network with random weights."""
    return SRCNN()
