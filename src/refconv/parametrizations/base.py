"""What every kernel transformation shares: one site, full precision inside, one computation per forward.

A transformation is a torch parametrization: the frozen base stays in the module as
``parametrizations.weight.original``, and reading ``module.weight`` gives the kernel. Subclasses say how the kernel
follows from the base (:meth:`KernelTransform.transform`) and what may be computed ahead
(:meth:`KernelTransform.prepare`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from refconv.errors import SiteError
from refconv.ops import Layout


class ForwardScope:
    """Holds the kernels of one forward pass, so that a module that runs several times computes its own once.

    The model's forward hooks open and close the scope; outside of it nothing is kept. Copies of a model get a copy
    of the scope of their own, because ``deepcopy`` copies the object that the hooks are bound to.

    Entries are kept apart by gradient and inference mode: a kernel computed under ``no_grad`` must not serve a later
    call that trains. Compiled code skips the scope; the compiler merges equal subexpressions itself.
    Activation checkpointing of a region that runs a module *again* is the one use that conflicts (torch reports it).
    """

    def __init__(self) -> None:
        self.kernels: dict[Any, Tensor] | None = None

    def open(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook of the model."""
        if not torch.compiler.is_compiling():
            self.kernels = {}

    def close(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the model; runs also when the forward failed."""
        if not torch.compiler.is_compiling():
            self.kernels = None

    def attach(self, model: nn.Module) -> None:
        """Let a model's forward passes open and close this scope."""
        model.register_forward_pre_hook(self.open)
        model.register_forward_hook(self.close, always_call=True)

    @staticmethod
    def detach(model: nn.Module) -> None:
        """Remove the hooks of every scope from a model and its modules."""
        for module in model.modules():
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                ours = [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), ForwardScope)]
                for key in ours:
                    del hooks[key]
                    module._forward_hooks_always_called.pop(key, None)


class KernelTransform(nn.Module):
    """A trainable map from a frozen base to the kernel that its convolution uses.

    Args:
        site: the site's name, for messages.
        base: the pretrained kernel, in its stored shape.
        layout: how its slices form blocks.
        scope: the forward scope of the model.

    Shapes: ``forward`` maps the stored weight to one of the same shape, dtype and memory format. Inside it computes
    in at least float32, whatever autocast or the base's dtype say, and casts once at the end.
    """

    def __init__(self, site: str, base: Tensor, layout: Layout, scope: ForwardScope) -> None:
        super().__init__()
        self.site = site
        self.layout = layout
        self.scope = scope
        self.base_requires_grad = base.requires_grad
        self.sealed = False

    @abstractmethod
    def prepare(self, base: Tensor) -> None:
        """Compute what depends on the frozen base only; called again whenever another base is loaded."""

    @abstractmethod
    def transform(self, blocks: Tensor) -> Tensor:
        """Map the base's blocks [b, m, k] to the kernel's blocks [b, m, k], both in at least float32."""

    @abstractmethod
    def reset(self) -> None:
        """Make the kernel equal the base again."""

    def forward(self, base: Tensor) -> Tensor:
        """Return the kernel for a base, in the base's shape, dtype and memory format."""
        kept = None if torch.compiler.is_compiling() else self.scope.kernels
        if kept is None:
            return self._kernel(base)
        key = (id(self), torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        if key not in kept:
            kept[key] = self._kernel(base)
        return kept[key]

    def _kernel(self, base: Tensor) -> Tensor:
        with torch.autocast(base.device.type, enabled=False):
            blocks = self.layout.to_blocks(base.to(computing_dtype(base)))
            kernel = self.layout.from_blocks(self.transform(blocks)).to(base.dtype)
        return kernel.contiguous(memory_format=memory_format(base))

    def right_inverse(self, value: Tensor) -> Tensor:
        """Refuse assignments to the kernel, which could not reach the trained weights.

        Raises:
            SiteError: if the kernel is assigned to after the transformation was put in place.
        """
        if self.sealed:
            raise SiteError(
                "the kernel is computed from its base and cannot be assigned",
                where=self.site,
                remedy="merge(model) or unrefocus(model) first, then assign, then refocus again",
            )
        return value


def computing_dtype(base: Tensor) -> torch.dtype:
    """Return the dtype that a base's kernel is computed in: its own, but never less than float32."""
    return torch.promote_types(base.dtype, torch.float32)


def memory_format(base: Tensor) -> torch.memory_format:
    """Return the memory format that a kernel computed from a base is to have: the base's."""
    if base.is_contiguous():
        return torch.contiguous_format
    if base.dim() == 4 and base.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    if base.dim() == 5 and base.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.channels_last_3d
    return torch.contiguous_format
