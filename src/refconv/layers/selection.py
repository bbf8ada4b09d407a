"""Choosing among the layers of a model, by kind, family, globs or regular expressions, and what no method accepts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refconv.config import Pattern, Selection, checked_patterns
from refconv.errors import LayerError, ModelError, SettingError, did_you_mean
from refconv.layers.find import FAMILIES, KINDS, NO_PARAMETER, PARAMETRIZED, Layer, dotted

# Kernels that are chosen only when asked for by one of these words or by their exact name.
_OPT_IN = ("pointwise", "condconv", "deformable")
FROZEN = "its weight is frozen"  #: Why a chosen kernel is not trained whose ``requires_grad`` is False


@dataclass(frozen=True)
class Choice:
    """A layer and, if it was not chosen, the reason."""

    layer: Layer
    skipped: str | None


def select(layers: Sequence[Layer], include: Selection = None, exclude: Selection = None) -> list[Choice]:
    """Decide for every layer whether it is chosen, and say why where it is not.

    A pattern is a kind (``depthwise``, ``grouped``, ``dense``, ``pointwise``), a family (``transposed``,
    ``condconv``, ``deformable``), a glob on the module's name (``stages.*.conv_dw``) or a regular expression,
    compiled or written as ``re:...``, which is searched in the name. Without ``include``, every kernel with more
    than one tap is chosen, except the opt-in families. Pointwise, CondConv and deformable kernels are chosen only
    when ``include`` says their kind or family, or their exact name. ``exclude`` wins over ``include``.

    Raises:
        SettingError: if a pattern matches no layer at all, so that it would have no effect.
    """
    included, excluded = _patterns(include, "include"), _patterns(exclude, "exclude")
    _check_effect(layers, included, "include")
    _check_effect(layers, excluded, "exclude")
    return [Choice(layer, _reason(layer, included if include is not None else None, excluded)) for layer in layers]


def select_trained(layers: Sequence[Layer], include: Selection = None, exclude: Selection = None) -> list[Choice]:
    """Decide for every layer whether it is trained: those that :func:`select` chooses and that are not frozen.

    A kernel whose ``requires_grad`` is False stays as it is, in kernel space as in gradient space, also where
    ``include`` names it; to train it, call ``requires_grad_(True)`` on its weight first.
    """
    return [
        Choice(choice.layer, FROZEN) if choice.skipped is None and choice.layer.frozen else choice
        for choice in select(layers, include, exclude)
    ]


def _reason(layer: Layer, included: list[Pattern] | None, excluded: list[Pattern]) -> str | None:
    for word in _OPT_IN:  # asked for by that word itself or by the layer's exact name
        asked = included is not None and any(pattern in (word, layer.name) for pattern in included)
        if word in (layer.kind, layer.family) and not asked:
            return "one tap" if word == "pointwise" else f"only on request: include={word!r}"
    if included is not None and not any(_matches(pattern, layer) for pattern in included):
        return "not included"
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


def _patterns(selection: Selection, where: str) -> list[Pattern]:
    return [
        re.compile(pattern.removeprefix("re:")) if isinstance(pattern, str) and pattern.startswith("re:") else pattern
        for pattern in checked_patterns(where, selection) or ()
    ]


def _check_effect(layers: Sequence[Layer], patterns: list[Pattern], where: str) -> None:
    for pattern in patterns:
        harmless = where == "exclude" and pattern in (*KINDS, *FAMILIES)
        if not harmless and not any(_matches(pattern, layer) for layer in layers):
            text = str(getattr(pattern, "pattern", pattern))
            similar = did_you_mean(text, [*KINDS, *FAMILIES, *(layer.name for layer in layers)])
            remedy = similar or "refconv.plan(model) lists the names"
            raise SettingError(f"{text!r} matches no convolution", where=where, remedy=remedy)


def admitted(model: nn.Module, choices: Sequence[Choice], ours: Sequence[str]) -> list[Layer]:
    """Return the chosen layers of a model, refusing any that is transformed by one of our classes, or no base."""
    for layer in (choice.layer for choice in choices if choice.skipped and choice.skipped == choice.layer.obstacle):
        if set(layer.parametrized_by) & set(ours):
            what = f"the kernel is refocused already ({', '.join(layer.parametrized_by)})"
            remedy = "merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again"
            raise LayerError(what, where=layer.label, remedy=remedy)
    chosen = [choice.layer for choice in choices if choice.skipped is None]
    if not chosen:
        reasons = sorted({choice.skipped for choice in choices if choice.skipped})
        expected, found = "at least one convolution with more than one tap", "; ".join(reasons) or "no convolution"
        about = {"where": type(model).__name__, "expected": expected, "found": found, "remedy": _remedy(reasons)}
        raise ModelError("nothing to refocus", **about)
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
