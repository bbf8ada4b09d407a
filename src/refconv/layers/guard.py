"""What no method accepts as a layer: kernels that cannot be a base, and shared ones of which only a part was chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refconv.errors import LayerError, ModelError
from refconv.layers.find import NO_PARAMETER, PARAMETRIZED, Layer
from refconv.layers.selection import FROZEN, Choice


def admitted(model: nn.Module, choices: Sequence[Choice], ours: Sequence[str]) -> list[Layer]:
    """Return the chosen layers of a model, after checking that each can serve as a base.

    Args:
        model: the model, for messages.
        choices: what :func:`refconv.layers.select_trained` returned.
        ours: class names of this package's transformations.

    Raises:
        ModelError: if no layer is chosen.
        LayerError: if a chosen kernel is transformed already, uninitialised, without values, not finite, all zero, or
            shared with one that is not chosen.
    """
    check_not_transformed([c.layer for c in choices if c.skipped is not None and c.skipped == c.layer.obstacle], ours)
    chosen = [choice.layer for choice in choices if choice.skipped is None]
    if not chosen:
        reasons = sorted({choice.skipped for choice in choices if choice.skipped})
        raise ModelError(
            "nothing to refocus",
            where=type(model).__name__,
            expected="at least one convolution with more than one tap",
            found="; ".join(reasons) or "no convolution",
            remedy=_remedy(reasons),
        )
    check_shared(chosen)
    for layer in chosen:
        check_base(layer)
    return chosen


def _remedy(reasons: Sequence[str]) -> str | None:
    """Return what makes kernels trainable that are not, by the first reason for which there is something to do."""
    if FROZEN in reasons:
        return "requires_grad_(True) on the kernels to train"
    if any(reason.startswith(PARAMETRIZED) for reason in reasons):
        return "fold it into the kernels first: torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"
    if NO_PARAMETER in reasons:
        return "fold into the kernels what computes them: torch.nn.utils.remove_weight_norm(module), or prune.remove"
    return None


def check_base(layer: Layer) -> None:
    """Refuse a kernel that cannot serve as a base.

    Raises:
        LayerError: if the kernel is lazy, on the meta device, not finite or all zero.
    """
    weight = layer.weight
    if weight is None or is_lazy(weight):
        raise LayerError(
            "the kernel is not initialised yet", where=layer.label, remedy="run one batch through the model first"
        )
    if weight.is_meta:
        raise LayerError(
            "the kernel has no values (meta device)", where=layer.label, remedy="materialise and load the model first"
        )
    values = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
    if not bool(torch.isfinite(values).all()):
        raise LayerError("the kernel has entries that are not finite", where=layer.label, remedy="load valid weights")
    if not bool(values.any()):
        raise LayerError(
            "the kernel is all zero: a refocused kernel would stay zero",
            where=layer.label,
            remedy=f"load pretrained weights, or exclude={layer.name!r}",
        )


def check_shared(chosen: Sequence[Layer]) -> None:
    """Refuse to transform a shared kernel under one name but not under the other.

    Raises:
        LayerError: if a chosen kernel is also stored where it was not chosen, or read there in another layout.
    """
    by_holder = {f"{layer.name}.weight" if layer.name else "weight": layer for layer in chosen}
    for layer in chosen:
        for holder in layer.shared_with:
            other = by_holder.get(holder)
            if other is None:
                raise LayerError(
                    f"the kernel is shared with {holder}, which is not chosen",
                    where=layer.label,
                    remedy=f"choose both, exclude={layer.name!r}, or give each a copy of its own",
                )
            if other.layout() != layer.layout():
                raise LayerError(
                    f"the kernel is shared with {holder}, which reads it with other groups or strides of slices",
                    where=layer.label,
                    remedy="exclude both, or give each a copy of its own",
                )


def check_not_transformed(chosen: Sequence[Layer], ours: Sequence[str]) -> None:
    """Refuse a layer whose kernel is transformed by this package already.

    Args:
        chosen: the layers that were asked for, whatever the selection said of them.
        ours: class names of this package's transformations.

    Raises:
        LayerError: if one is transformed.
    """
    for layer in chosen:
        if set(layer.parametrized_by) & set(ours):
            raise LayerError(
                f"the kernel is refocused already ({', '.join(layer.parametrized_by)})",
                where=layer.label,
                remedy="merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again",
            )
