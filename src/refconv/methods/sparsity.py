"""Kernels that are trained plainly and keep their entries that are zero at zero."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from refconv.layers import find_layers


def keep_zeros(model: nn.Module, but: Collection[str] = ()) -> None:
    """Let no gradient reach the zeros of stored kernels, those of one tap too; layers of these names are passed over.

    Optimizers do not move what has no gradient: decay, momentum and the moments of Adam of an entry at zero are zero.
    """
    for layer in find_layers(model):
        weight = layer.weight
        if isinstance(weight, nn.Parameter) and weight.requires_grad and layer.name not in but:
            weight.register_hook(_Masked(weight))


class _Masked:
    """Masks a parameter's gradients by what is not zero at the first of them, when all weights are loaded."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.mask: Tensor | None = None

    def __call__(self, gradient: Tensor) -> Tensor:
        if self.mask is None or self.mask.device != gradient.device:
            self.mask = self.weight.detach() != 0
        return gradient * self.mask
