"""What surgery refuses: wrapped models, and kernels that cannot be a base."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refconv.errors import ModelError, SiteError
from refconv.sites import Site

# Wrappers by class name, so that none of their packages is loaded to look for them, with the way back.
_WRAPPERS = {
    "DistributedDataParallel": "refocus first, then wrap with DDP; the plain model is its .module",
    "DataParallel": "refocus first, then wrap; the plain model is its .module",
    "FullyShardedDataParallel": "refocus first, then shard; merge from the gathered full state dict",
    "FSDPModule": "refocus first, then shard; merge from the gathered full state dict",
    "OptimizedModule": "refocus first, then compile; the plain model is its ._orig_mod",
}


def check_unwrapped(model: nn.Module, verb: str) -> None:
    """Refuse a model that is wrapped for training or compiled already.

    Args:
        model: the model.
        verb: what was about to be done, for the message.

    Raises:
        ModelError: if the model is no module, or wrapped by DDP, FSDP or torch.compile.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"cannot {verb} this", expected="a torch.nn.Module", found=type(model).__name__)
    for name, module in model.named_modules():
        for base in type(module).__mro__:
            if base.__name__ in _WRAPPERS:
                raise ModelError(
                    f"cannot {verb} a model that is wrapped by {base.__name__}",
                    where=name or type(model).__name__,
                    remedy=_WRAPPERS[base.__name__],
                )
    if model._compiled_call_impl is not None:
        raise ModelError(
            f"cannot {verb} a model that is compiled",
            where=type(model).__name__,
            remedy=f"{verb} first, then call model.compile()",
        )


def check_base(site: Site) -> None:
    """Refuse a kernel that cannot serve as a base.

    Raises:
        SiteError: if the kernel is lazy, on the meta device, sharded, not finite or all zero.
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
    if hasattr(weight, "device_mesh"):
        raise SiteError("the kernel is sharded (DTensor)", where=site.label, remedy="refocus first, then shard")
    if not bool(torch.isfinite(weight).all()):
        raise SiteError("the kernel has entries that are not finite", where=site.label, remedy="load sound weights")
    if not bool(weight.any()):
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
