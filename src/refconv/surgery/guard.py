"""What surgery refuses beyond what no method accepts: wrapped, compiled and sharded models."""

from __future__ import annotations

from torch import nn

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


def check_unsharded(site: Site) -> None:
    """Refuse a kernel of which every process holds a part only.

    Raises:
        SiteError: if it is sharded.
    """
    if hasattr(site.weight, "device_mesh"):
        raise SiteError("the kernel is sharded (DTensor)", where=site.label, remedy="refocus first, then shard")
