"""A loss over data that is gone through many times: batches checked and bounded in number, the same in every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.analysis.batches import Batch, Batches
from refconv.errors import DataError, ModelError, SettingError

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""(outputs, targets) -> the mean loss over the samples of a batch, one number."""


class BoundedBatches:
    """The first samples of some batches, the same in every pass.

    Going through them once on creation finds out how many there are and that they can be used.

    Args:
        batches: (samples, targets) pairs of tensors, as :data:`refconv.analysis.batches.Batches`; targets of any kind.
        max_samples: how many samples to take at most; None takes all.

    Attributes:
        samples: how many samples a pass has.
        cut: whether there are more that were left out.

    Raises:
        DataError: if there are none, if they cannot be gone through again, are not tensors of one length, or are not
            finite.
        SettingError: if ``max_samples`` is less than one.

    Example:
        >>> images, labels = torch.zeros(6, 1, 2, 2), torch.zeros(6, dtype=torch.long)
        >>> bounded = BoundedBatches([(images, labels), (images, labels)], max_samples=8)
        >>> bounded.samples, bounded.cut, [len(targets) for _, targets in bounded]
        (8, True, [6, 2])
    """

    def __init__(self, batches: Batches, max_samples: int | None = None) -> None:
        if max_samples is not None and max_samples < 1:
            raise SettingError("too few", where="max_samples", expected="at least 1, or None", found=str(max_samples))
        if not callable(batches) and not isinstance(batches, Sequence):
            raise DataError(
                "batches cannot be gone through again",
                expected="a list of (samples, targets), or a function that returns an iterator over them",
                found=type(batches).__name__,
            )
        self._batches = batches
        self.samples = 0
        self.cut = False
        for samples, targets in self._whole():
            _check(samples, targets)
            if max_samples is not None and self.samples + len(samples) > max_samples:
                self.samples, self.cut = max_samples, True
                break
            self.samples += len(samples)
        if not self.samples:
            raise DataError("no samples to run the model on", expected="at least one batch", found="none")

    def __iter__(self) -> Iterator[Batch]:
        """Start a pass.

        Raises:
            DataError: if it has fewer samples than the first one.
        """
        left = self.samples
        for samples, targets in self._whole():
            if len(samples):
                yield samples[:left], targets[:left]
            left -= min(left, len(samples))
            if not left:
                return
        raise DataError(
            "batches ended early in a later pass",
            expected=f"{self.samples} samples in every pass",
            found=str(self.samples - left),
            remedy="give a list, or a function that starts over",
        )

    def _whole(self) -> Iterator[Batch]:
        return iter(self._batches() if callable(self._batches) else self._batches)


def classification_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy, natural logarithm, of classifiers' outputs.

    Args:
        outputs: scores [batch, classes] or [batch, classes, *positions].
        targets: class numbers, integers [batch] or [batch, *positions].

    Raises:
        ModelError: if the outputs are not scores of classes.
        DataError: if the targets are not numbers of these classes.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim < 2:
        found = str(list(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            "the model's outputs are no scores of classes",
            expected="[batch, classes]",
            found=found,
            remedy="give the loss of this kind of model as loss=",
        )
    expected = [len(outputs), *outputs.shape[2:]]
    if targets.is_floating_point() or list(targets.shape) != expected:
        raise DataError(
            "targets are no classes of these outputs",
            expected=f"integers {expected}",
            found=f"{targets.dtype} {list(targets.shape)}",
            remedy="give the loss of this kind of model as loss=",
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise DataError(
            "targets name classes that the model does not have",
            expected=f"0 to {outputs.shape[1] - 1}",
            found=f"{low} to {high}",
        )
    return F.cross_entropy(outputs, targets.long())


def _check(samples: Any, targets: Any) -> None:
    if not isinstance(samples, Tensor) or not isinstance(targets, Tensor):
        found = f"({type(samples).__name__}, {type(targets).__name__})"
        raise DataError("a batch is not a pair of tensors", expected="(samples, targets)", found=found)
    if not samples.ndim or not targets.ndim or len(samples) != len(targets):
        found = f"{list(samples.shape)} and {list(targets.shape)}"
        raise DataError("samples and targets differ in number", expected="one target per sample", found=found)
    if samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
        raise DataError("samples have entries that are not finite", remedy="leave these samples out")
