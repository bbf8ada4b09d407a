"""Functions that torch differentiates once, written for a while so that it does twice.

Of the activations, poolings and normalisations of torch, this is hardsigmoid alone, the gate of MobileNetV3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, hardsigmoid is computed as relu6(x + 3) / 6: the same values, with a second derivative.

    Example:
        >>> x = torch.tensor([-4.0, 0.0, 1.5], requires_grad=True)
        >>> with TwiceDifferentiable():
        ...     F.hardsigmoid(x).tolist()
        [0.0, 0.5, 0.75]
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace hardsigmoid, in place or not; let everything else through."""
        del types
        if func in _HARDSIGMOIDS:
            return _hardsigmoid(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


_HARDSIGMOIDS = {F.hardsigmoid, torch._C._nn.hardsigmoid}


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:  # noqa: A002 (torch's name)
    del inplace  # what callers go on with is what is returned
    return F.relu6(input + 3) / 6
