"""What surgery refuses beyond what no method accepts: wrapped and sharded models; and how compiled ones are met."""

from __future__ import annotations

import re

from torch import nn

from refconv.errors import LayerError, ModelError
from refconv.layers import Layer

# Wrappers by class name, so that none of their packages is loaded to look for them, with the way back.
_WRAPPERS = {
    "DistributedDataParallel": "refocus first, then wrap with DDP; the plain model is its .module",
    "DataParallel": "refocus first, then wrap; the plain model is its .module",
    "FullyShardedDataParallel": "refocus first, then shard; merge from the gathered full state dict",
    "FSDPModule": "refocus first, then shard; merge from the gathered full state dict",
}
_COMPILED = "OptimizedModule"


def check_unwrapped(model: nn.Module, verb: str) -> None:
    """Refuse what is no module, or wrapped by DDP or FSDP, naming what was about to be done.

    Compiled models are not refused: ``torch.compile`` compiles a module again when its tensors have changed.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"cannot {verb} this", expected="a torch.nn.Module", found=type(model).__name__)
    for name, module in model.named_modules():
        for base in type(module).__mro__:
            if base.__name__ in _WRAPPERS:
                what, remedy = f"cannot {verb} a model that is wrapped by {base.__name__}", _WRAPPERS[base.__name__]
                raise ModelError(what, where=name or type(model).__name__, remedy=remedy)


def check_names(model: nn.Module, verb: str) -> None:
    """Refuse a model in whose names a wrapper of ``torch.compile`` shows, since patterns and files mean plain names."""
    for name, module in model.named_modules():
        if type(module).__name__ == _COMPILED:
            inner = f"model.{name}._orig_mod" if name else "model._orig_mod"
            what = f"cannot {verb} through the wrapper of torch.compile"
            remedy = f"{verb} before torch.compile(...), or compile by module.compile(); the plain one is {inner}"
            raise ModelError(what, where=name or _COMPILED, remedy=remedy)


def is_compiled(model: nn.Module) -> bool:
    """Say whether ``torch.compile`` made something of a model or of one of its modules, in place or as a wrapper."""
    return any(
        module._compiled_call_impl is not None or type(module).__name__ == _COMPILED for module in model.modules()
    )


def plain_name(name: str) -> str:
    """Return a name of a tensor or module without the wrappers of ``torch.compile`` in it."""
    return re.sub(r"(?:^|(?<=\.))_orig_mod[.]", "", name)


def check_unsharded(layer: Layer) -> None:
    """Refuse a kernel of which every process holds a part only."""
    if hasattr(layer.weight, "device_mesh"):
        raise LayerError("the kernel is sharded (DTensor)", where=layer.label, remedy="refocus first, then shard")
