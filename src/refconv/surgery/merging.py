"""Writing the kernels back: the refocused model becomes the plain one again, with better weights."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from refconv.errors import LayerError, ModelError, RefconvWarning
from refconv.parametrizations import ForwardScope, KernelTransform
from refconv.records import Record
from refconv.surgery.places import Place, detach, places
from refconv.surgery.refocusing import check_unwrapped

_COUNTS = "zeros", "zeros_after", "entries"


@dataclass(frozen=True)
class MergedLayer(Record, former={"site": "layer"}):
    """How far one kernel moved."""

    layer: str
    relative_change: float  #: norm of (kernel - base) over the norm of the base
    largest_change: float  #: largest absolute difference between kernel and base
    filled: int = 0  #: entries that were zero in the base and are not in the kernel, as of a pruned network
    #: whether the kernel is still its base although a gradient reached the trained weights that make it, as with an
    #: optimizer that was made before the model was refocused
    untrained: bool = False
    zeros: int = 0  #: entries of the base that are zero
    zeros_after: int = 0  #: entries of the kernel that are zero
    entries: int = 0  #: all entries of the kernel


@dataclass(frozen=True)
class MergeReport(Record, former={"sites": "layers"}):
    """What a merge wrote: one entry a layer, in the order of the model's modules."""

    layers: tuple[MergedLayer, ...]

    @property
    def warning(self) -> str | None:
        """What is said where no kernel has moved although gradients reached the weights that make them.

        Where others have moved, the optimizer has the weights, and steps were too small for these kernels.
        """
        moved = any(layer.largest_change for layer in self.layers)
        count = 0 if moved else sum(layer.untrained for layer in self.layers)
        why = "the optimizer must be made after refocus(model), from its parameters"
        return f"{count} never moved although gradients reached their weights: {why}" if count else None

    def __str__(self) -> str:
        moved = max(self.layers, key=lambda layer: layer.relative_change)
        filled = sum(layer.filled for layer in self.layers)
        most = f"{moved.layer or '(the model)'}, by {moved.relative_change:.1%} of its norm"
        words = [f"merged {len(self.layers)} kernels", f"the one that moved most is {most}"]
        if filled:
            words.append(f"{filled:,} entries that were zero are not any more")
        before, after, entries = (sum(getattr(one, name) for one in self.layers) for name in _COUNTS)
        if before and entries:
            words.append(f"zeros {before / entries:.1%} before, {after / entries:.1%} after")
        return "; ".join([*words, *([self.warning] if self.warning else [])])


def merge(model: nn.Module) -> MergeReport:
    """Write every refocused kernel into its convolution and remove the transformations, in place, all or nothing.

    Afterwards modules, classes, keys, their order, shapes, dtypes and gradient flags are those of the model before it
    was refocused, and in eval mode it computes what the refocused model did. Where something else computes the kernel
    (a mask, weight_norm, pruning), what it computes from is written, and it stays. If no kernel has moved although
    gradients reached the weights that make them, a :class:`refconv.errors.RefconvWarning` says so.

    Raises:
        ModelError: if the model is wrapped or nothing in it is refocused.
        LayerError: if a kernel is not finite; the model is untouched then.
    """
    found = _found(model, "merge")
    kernels: dict[int, Tensor] = {}
    report = []
    for place in found:
        transform, base = place.transform, place.base
        if id(transform) not in kernels:
            kernels[id(transform)] = place.kernel()
        kernel = kernels[id(transform)]
        if not bool(torch.isfinite(kernel).all()):
            what = "the refocused kernel has entries that are not finite, so nothing was merged"
            raise LayerError(what, where=place.name, remedy="go back to the last good checkpoint")
        before, after = (torch.view_as_real(one) if one.is_complex() else one for one in (base.detach(), kernel))
        change = (after - before).double()
        relative, largest = float(change.norm() / before.double().norm()), float(change.abs().max())
        zeros, filled = int((base == 0).sum()), int(((base == 0) & (kernel != 0)).sum())
        untrained = not largest and _untrained(transform, base)
        counts = {"zeros": zeros, "zeros_after": int((kernel == 0).sum()), "entries": kernel.numel()}
        report.append(MergedLayer(place.name, relative, largest, filled, untrained, **counts))
    for place in found:
        detach(place, kernels[id(place.transform)])
    ForwardScope.detach(model)
    done = MergeReport(tuple(report))
    if done.warning:
        warnings.warn(f"of {len(done.layers)} kernels {done.warning}", RefconvWarning, stacklevel=2)
    return done


@torch.no_grad()
def _untrained(transform: KernelTransform, base: Tensor) -> bool:
    """Return whether gradients reached a transformation that still leaves the base as it is."""
    gradients = [weight.grad for weight in transform.parameters() if weight.grad is not None]
    if not any(bool(gradient.any()) for gradient in gradients):
        return False
    unrounded = base.detach().to(torch.promote_types(base.dtype, torch.float32))  # steps may be too small for 16 bits
    return torch.equal(transform.kernel(unrounded), unrounded)


def merged(model: nn.Module) -> nn.Module:
    """Return a plain copy of a refocused model with its kernels merged; the model itself is left as it is.

    Safe on EMA copies and for exporting in the middle of training.

    Raises:
        ModelError: if the model is wrapped or nothing in it is refocused.
        LayerError: if a kernel is not finite.
    """
    _found(model, "merge")
    with _Detaching():
        plain = copy.deepcopy(model)
    merge(plain)
    return plain


class _Detaching(TorchFunctionMode):
    """Lets ``deepcopy`` copy the values of activations that a module holds, which torch refuses to copy as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            args = (args[0].detach(), *args[1:])
        return func(*args, **(kwargs or {}))


def unrefocus(model: nn.Module) -> tuple[str, ...]:
    """Drop every refocusing transformation and what it learned: the pretrained kernels come back, in place.

    Everything else that was trained meanwhile stays trained, and other parametrizations stay where they are. Returns
    the names of the layers.

    Raises:
        ModelError: if the model is wrapped or nothing in it is refocused.
    """
    found = _found(model, "unrefocus")
    for place in found:
        detach(place, None)
    ForwardScope.detach(model)
    return tuple(place.name for place in found)


def _found(model: nn.Module, verb: str) -> list[Place]:
    check_unwrapped(model, verb)
    found = list(places(model))
    if not found:
        about = {"expected": "a refocused model", "found": "a plain one", "remedy": "refocus(model) first"}
        raise ModelError(f"nothing to {verb}", where=type(model).__name__, **about)
    return found
