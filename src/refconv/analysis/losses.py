"""The loss that measures of the loss take unless they are told another: cross-entropy of scores, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn import functional as F

from refconv.errors import DataError, ModelError

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""(outputs, targets) -> the mean loss over the samples of a batch, one number."""


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
