"""Choosing among the kernels of a model, and refusing those that cannot be a base."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from refconv.config import Pattern, Selection, checked_patterns
from refconv.errors import LayerError, ModelError, SettingError, did_you_mean
from refconv.layers.find import FAMILIES, KINDS, NO_BASE, NO_PARAMETER, WRITTEN, Layer

# Kernels that are chosen only when asked for by one of these words or by their exact name.
_OPT_IN = ("pointwise", "condconv", "deformable")
FROZEN = "its weight is frozen"  #: Why a chosen kernel is not trained whose ``requires_grad`` is False
_UTILS = "torch.nn.utils."
_FOLD = f"{_UTILS}parametrize.remove_parametrizations(module, 'weight')"
_REMEDIES = {  # what makes kernels trainable, by how the reason begins for which they are not
    FROZEN: "requires_grad_(True) on the kernels to train",
    WRITTEN: "name a layer in include= if its kernel is not written in training",
    NO_BASE: f"fold it into the kernels first: {_FOLD}",
    NO_PARAMETER: "make it an nn.Parameter",
}


@dataclass(frozen=True)
class Choice:
    """A layer and, if it was not chosen, the reason."""

    layer: Layer
    skipped: str | None


def select(
    layers: Sequence[Layer], include: Selection = None, exclude: Selection = None, *, one_tap: bool = False
) -> list[Choice]:
    """Decide for every layer whether it is chosen, and say why where it is not.

    A pattern is a kind (``depthwise``, ``grouped``, ``dense``, ``pointwise``), a family (``transposed``,
    ``condconv``, ``deformable``), a glob on the module's name (``stages.*.conv_dw``) or a regular expression,
    compiled or written as ``re:...``, which is searched in the name. Without ``include``, every kernel with more
    than one tap is chosen, except the opt-in families. Pointwise, CondConv and deformable kernels are chosen only
    when ``include`` says their kind or family, or their exact name; with ``one_tap`` pointwise ones are treated like
    others. ``exclude`` wins over ``include``.

    Raises:
        SettingError: if a pattern matches no layer at all, so that it would have no effect.
    """
    included, excluded = _patterns(layers, include, "include"), _patterns(layers, exclude, "exclude")
    chosen, opt_in = included if include is not None else None, _OPT_IN[1:] if one_tap else _OPT_IN
    return [Choice(layer, _reason(layer, chosen, excluded, opt_in)) for layer in layers]


def select_trained(
    layers: Sequence[Layer], include: Selection = None, exclude: Selection = None, *, one_tap: bool = False
) -> list[Choice]:
    """Decide for every layer whether it is trained: those that :func:`select` chooses and that are not frozen.

    A frozen kernel stays as it is also where ``include`` names it; ``requires_grad_(True)`` on its weight unfreezes it.
    """
    choices = select(layers, include, exclude, one_tap=one_tap)
    return [Choice(one.layer, FROZEN) if one.skipped is None and one.layer.frozen else one for one in choices]


def _reason(layer: Layer, included: list[Pattern] | None, excluded: list[Pattern], opt_in: Sequence[str]) -> str | None:
    for word in opt_in:  # asked for by that word itself or by the layer's exact name
        asked = included is not None and any(pattern in (word, layer.name) for pattern in included)
        if word in (layer.kind, layer.family) and not asked:
            return "one tap" if word == "pointwise" else f"only on request: include={word!r}"
    if included is not None and not any(_matches(pattern, layer) for pattern in included):
        return "not included"
    if layer.request and not layer.refocused and layer.name not in (included or ()):
        return f"{layer.request}: only on request by its exact name"
    for pattern in excluded:
        if _matches(pattern, layer):
            return f"excluded by {getattr(pattern, 'pattern', pattern)!r}"
    return layer.obstacle


def _matches(pattern: Pattern, layer: Layer) -> bool:
    if isinstance(pattern, re.Pattern):
        return pattern.search(layer.name) is not None
    if pattern in KINDS or pattern in FAMILIES:
        return pattern in (layer.kind, layer.family)
    return fnmatch.fnmatchcase(layer.name, pattern)


def _patterns(layers: Sequence[Layer], selection: Selection, where: str) -> list[Pattern]:
    """Return the patterns of a selection, compiled; each must match a layer."""
    patterns: list[Pattern] = []
    for pattern in checked_patterns(where, selection) or ():
        if isinstance(pattern, str) and pattern.startswith("re:"):
            pattern = re.compile(pattern.removeprefix("re:"))
        patterns.append(pattern)
        harmless = where == "exclude" and pattern in (*KINDS, *FAMILIES)
        if not harmless and not any(_matches(pattern, layer) for layer in layers):
            text = str(getattr(pattern, "pattern", pattern))
            similar = did_you_mean(text, [*KINDS, *FAMILIES, *(layer.name for layer in layers)])
            remedy = similar or "refconv.plan(model) lists the names"
            raise SettingError(f"{text!r} matches no convolution", where=where, remedy=remedy)
    return patterns


def admitted(model: nn.Module, choices: Sequence[Choice], *, later: bool = False) -> list[Layer]:
    """Return the chosen layers of a model, refusing any that is refocused already, or no base.

    There must be one, or with ``later`` one that is frozen as yet.
    """
    for layer in (choice.layer for choice in choices if choice.skipped and choice.skipped == choice.layer.obstacle):
        if layer.refocused:
            what = f"the kernel is refocused already ({', '.join(layer.parametrized_by)})"
            remedy = "merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again"
            raise LayerError(what, where=layer.label, remedy=remedy)
    chosen = [choice.layer for choice in choices if choice.skipped is None]
    if not chosen and not (later and any(choice.skipped == FROZEN for choice in choices)):
        reasons = sorted({choice.skipped for choice in choices if choice.skipped})
        expected, found = "at least one convolution with more than one tap", "; ".join(reasons) or "no convolution"
        remedies = (_REMEDIES[why] for why in _REMEDIES if any(reason.startswith(why) for reason in reasons))
        about = {"where": type(model).__name__, "expected": expected, "found": found, "remedy": next(remedies, None)}
        raise ModelError("nothing to refocus", **about)
    check_shared(chosen)
    for layer in chosen:
        check_base(layer.weight, layer.name, layer.label)
    return chosen


def check_base(weight: Tensor | None, name: str, label: str) -> None:
    """Refuse a kernel that cannot serve as a base: lazy, of the meta device or inference mode, not finite, all zero."""
    if weight is None or is_lazy(weight):
        what, remedy = "the kernel is not initialised yet", "run one batch through the model first"
    elif weight.is_meta:
        what, remedy = "the kernel has no values (meta device)", "materialise and load the model first"
    elif weight.is_inference() and not torch.is_inference_mode_enabled():
        what, remedy = (
            "the kernel was made under torch.inference_mode() and cannot be trained",
            "build the model outside",
        )
    else:
        values = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
        if not bool(torch.isfinite(values).all()):
            what, remedy = "the kernel has entries that are not finite", "load valid weights"
        elif bool(values.any()):
            return
        else:
            what = "the kernel is all zero: a refocused kernel would stay zero"
            remedy = f"load pretrained weights, or exclude={name!r}"
    raise LayerError(what, where=label, remedy=remedy)


def check_shared(chosen: Sequence[Layer]) -> None:
    """Refuse a kernel that is also stored where it was not chosen, or read there in another layout."""
    by_holder = {layer.holder: layer for layer in chosen}
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
