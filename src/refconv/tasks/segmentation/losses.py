"""Losses of class maps, over all pixels but the ignored ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.errors import ModelError


def pixel_losses(maps: Tensor, truth: Tensor, *, ignored: int, smoothing: float = 0.0) -> Tensor:
    """Return the sum of the cross-entropies of all pixels but the ignored ones, a number in float32.

    Args:
        maps: logits [batch, classes, H, W].
        truth: the class of each pixel, int64 [batch, H, W].
        ignored: class index to ignore.
        smoothing: label smoothing.
    """
    maps = maps.float()
    if maps.is_cuda and torch.are_deterministic_algorithms_enabled():
        # Of maps torch has no deterministic loss there; of a list of pixels it has, which takes longer.
        maps, truth = maps.movedim(1, -1).flatten(0, -2), truth.flatten()
    return F.cross_entropy(maps, truth, ignore_index=ignored, label_smoothing=smoothing, reduction="sum")


def teacher_losses(maps: Tensor, teacher_logits: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) at temperature T, summed over pixels, a number in float32.

    Args:
        maps: the student's logits [batch, classes, H, W].
        teacher_logits: the teacher's, of the same shape.
        counted: which pixels count, bool [batch, H, W].
        temperature: T.

    Raises:
        ModelError: if the teacher has other classes than the student.
    """
    if teacher_logits.shape != maps.shape:
        raise ModelError(
            "the teacher has other classes than the student",
            where="distill",
            expected=f"maps of shape {list(maps.shape)}",
            found=str(list(teacher_logits.shape)),
        )
    student, teacher = (F.log_softmax(logits.float() / temperature, dim=1) for logits in (maps, teacher_logits))
    distances = (teacher.exp() * (teacher - student)).sum(1)
    return temperature**2 * (distances * counted).sum()
