"""What no method accepts as a site: kernels that cannot be a base, and shared ones of which only a part was chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refconv.errors import ModelError, SiteError
from refconv.sites.find import NO_PARAMETER, PARAMETRIZED, Site
from refconv.sites.selection import FROZEN, Choice


def admitted(model: nn.Module, choices: Sequence[Choice], ours: Sequence[str]) -> list[Site]:
    """Return the chosen sites of a model, after checking that each can serve as a base.

    Args:
        model: the model, for messages.
        choices: what :func:`refconv.sites.select_trained` returned.
        ours: class names of this package's transformations.

    Raises:
        ModelError: if no site is chosen.
        SiteError: if a chosen kernel is transformed already, uninitialised, without values, not finite, all zero, or
            shared with one that is not chosen.
    """
    check_not_transformed([c.site for c in choices if c.skipped is not None and c.skipped == c.site.obstacle], ours)
    chosen = [choice.site for choice in choices if choice.skipped is None]
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
    for site in chosen:
        check_base(site)
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


def check_base(site: Site) -> None:
    """Refuse a kernel that cannot serve as a base.

    Raises:
        SiteError: if the kernel is lazy, on the meta device, not finite or all zero.
    """
    weight = site.weight
    if weight is None or is_lazy(weight):
        raise SiteError(
            "the kernel is not initialised yet",
            where=site.label,
            remedy="run one batch through the model first",
        )
    if weight.is_meta:
        raise SiteError(
            "the kernel has no values (meta device)",
            where=site.label,
            remedy="materialise and load the model first",
        )
    values = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
    if not bool(torch.isfinite(values).all()):
        raise SiteError("the kernel has entries that are not finite", where=site.label, remedy="load sound weights")
    if not bool(values.any()):
        raise SiteError(
            "the kernel is all zero: a refocused kernel would stay zero for ever",
            where=site.label,
            remedy=f"load pretrained weights, or exclude={site.name!r}",
        )


def check_shared(chosen: Sequence[Site]) -> None:
    """Refuse to transform a shared kernel under one name but not under the other.

    Raises:
        SiteError: if a chosen kernel is also stored where it was not chosen, or read there in another layout.
    """
    by_holder = {f"{site.name}.weight" if site.name else "weight": site for site in chosen}
    for site in chosen:
        for holder in site.shared_with:
            other = by_holder.get(holder)
            if other is None:
                raise SiteError(
                    f"the kernel is shared with {holder}, which is not chosen",
                    where=site.label,
                    remedy=f"choose both, exclude={site.name!r}, or give each a copy of its own",
                )
            if other.layout() != site.layout():
                raise SiteError(
                    f"the kernel is shared with {holder}, which reads it with other groups or strides of slices",
                    where=site.label,
                    remedy="exclude both, or give each a copy of its own",
                )


def check_not_transformed(chosen: Sequence[Site], ours: Sequence[str]) -> None:
    """Refuse a site whose kernel is transformed by this package already.

    Args:
        chosen: the sites that were asked for, whatever the selection said of them.
        ours: class names of this package's transformations.

    Raises:
        SiteError: if one is transformed.
    """
    for site in chosen:
        if set(site.parametrized_by) & set(ours):
            raise SiteError(
                f"the kernel is refocused already ({', '.join(site.parametrized_by)})",
                where=site.label,
                remedy="merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again",
            )
