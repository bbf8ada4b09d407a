"""Choosing among the layers of a model: by kind, by family, by globs or regular expressions on names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from refconv.config import Pattern, Selection, checked_patterns
from refconv.errors import SettingError, did_you_mean
from refconv.layers.find import FAMILIES, KINDS, Layer

# Kernels that are chosen only when asked for by one of these words or by their exact name.
_OPT_IN = ("pointwise", "condconv", "deformable")

FROZEN = "its weight is frozen"
"""Why a chosen kernel is not trained whose ``requires_grad`` is False."""


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

    Raises:
        SettingError: if a pattern matches no layer at all, so that it would have no effect.
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
            return f"excluded by {_text(pattern)!r}"
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
        if any(_matches(pattern, layer) for layer in layers) or (where == "exclude" and pattern in (*KINDS, *FAMILIES)):
            continue
        text = _text(pattern)
        similar = did_you_mean(text, [*KINDS, *FAMILIES, *(layer.name for layer in layers)])
        remedy = similar or "refconv.plan(model) lists the names"
        raise SettingError(f"{text!r} matches no convolution", where=where, remedy=remedy)


def _text(pattern: Pattern) -> str:
    return pattern.pattern if isinstance(pattern, re.Pattern) else pattern
