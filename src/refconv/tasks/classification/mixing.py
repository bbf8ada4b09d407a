"""Mixup and CutMix by timm, of which each process carries out its share.

Sample i of a batch of n is mixed with sample n - 1 - i. Every process draws for the whole batch how it is mixed, and
has both samples of each of its pairs. So a batch is mixed alike into however many shares it is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from timm.data.mixup import Mixup, cutmix_bbox_and_lam
from torch import Tensor

from refconv.data.splits import taken_by


class SharedMixup(Mixup):
    """timm's Mixup of one process's share of a batch of ``size``, as :func:`.taken_by` cuts it in pairs.

    In one process it is timm's, number by number.
    """

    def __init__(self, size: int, *, rank: int, world_size: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.size = size
        self.positions = taken_by(size, rank=rank, world_size=world_size, pairs=True).numpy()

    def _mix_elem(self, x: Tensor) -> Tensor:
        return self._mix_own(x, *self._drawn(self.size, x.shape))

    def _mix_pair(self, x: Tensor) -> Tensor:
        lam, boxes = self._drawn(self.size // 2, x.shape)
        return self._mix_own(x, np.concatenate((lam, lam[::-1])), boxes + boxes[::-1])

    def _drawn(self, count: int, shape: torch.Size) -> tuple[np.ndarray, list[Any]]:
        """Draw in timm's order how strongly samples or pairs are mixed, and the boxes of those that CutMix takes."""
        lam, cut = self._params_per_elem(count)
        boxes: list[Any] = [None] * count
        for place in np.flatnonzero(cut & (lam != 1.0)):
            boxes[place], lam[place] = cutmix_bbox_and_lam(shape, lam[place], correct_lam=self.correct_lam)
        return lam, boxes

    def _mix_own(self, x: Tensor, lam: np.ndarray, boxes: list[Any]) -> Tensor:
        """Mix this process's samples in place; return how much of each is left, [n, 1]."""
        partners, own = x.flip(0), lam[self.positions]
        for sample, partner, kept, place in zip(x, partners, own, self.positions, strict=False):
            if boxes[place] is not None:
                top, bottom, left, right = boxes[place]
                sample[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
            elif kept != 1.0:
                sample.copy_(sample * kept + partner * (1 - kept))
        return torch.tensor(own, device=x.device, dtype=x.dtype).unsqueeze(1)
