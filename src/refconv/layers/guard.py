"""What no method accepts as a layer: kernels that cannot be a base, and shared ones of which only a part was chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refconv.errors import LayerError, ModelError
from refconv.layers.find import NO_PARAMETER, PARAMETRIZED, Layer, dotted
from refconv.layers.selection import FROZEN, Choice


def admitted(model: nn.Module, choices: Sequence[Choice], ours: Sequence[str]) -> list[Layer]:
    """Return the chosen layers of a model, refusing any that is transformed by one of our classes, or no base."""
    for layer in (choice.layer for choice in choices if choice.skipped and choice.skipped == choice.layer.obstacle):
        if set(layer.parametrized_by) & set(ours):
            raise LayerError(
                f"the kernel is refocused already ({', '.join(layer.parametrized_by)})",
                where=layer.label,
                remedy="merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again",
            )
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
    """Refuse a kernel that cannot serve as a base: lazy, on the meta device, not finite or all zero."""
    weight = layer.weight
    if weight is None or is_lazy(weight):
        what, remedy = "the kernel is not initialised yet", "run one batch through the model first"
    elif weight.is_meta:
        what, remedy = "the kernel has no values (meta device)", "materialise and load the model first"
    else:
        values = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
        if not bool(torch.isfinite(values).all()):
            what, remedy = "the kernel has entries that are not finite", "load valid weights"
        elif bool(values.any()):
            return
        else:
            what = "the kernel is all zero: a refocused kernel would stay zero"
            remedy = f"load pretrained weights, or exclude={layer.name!r}"
    raise LayerError(what, where=layer.label, remedy=remedy)


def check_shared(chosen: Sequence[Layer]) -> None:
    """Refuse a kernel that is also stored where it was not chosen, or read there in another layout."""
    by_holder = {f"{dotted(layer.name)}weight": layer for layer in chosen}
    for layer in chosen:
        for holder in layer.shared_with:
            other = by_holder.get(holder)
            if other is None:
                what, remedy = "which is not chosen", f"choose both, exclude={layer.name!r}, or"
            elif other.layout() != layer.layout():
                what, remedy = "which reads it with other groups or strides of slices", "exclude both, or"
            else:
                continue
            what, remedy = f"the kernel is shared with {holder}, {what}", f"{remedy} give each a copy of its own"
            raise LayerError(what, where=layer.label, remedy=remedy)
