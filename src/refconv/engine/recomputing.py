"""Gradient checkpointing: activations that are computed again in the backward pass instead of being kept.

Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174. The model's own code says where:
timm's ``set_grad_checkpointing``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from refconv.errors import RecipeError

_SETTER = "set_grad_checkpointing"


def recompute_activations(model: nn.Module) -> None:
    """Turn gradient checkpointing on in a model, or in its parts that have it, such as a backbone of timm.

    Raises:
        RecipeError: if the model has none.
    """
    parts, found = _outermost(model), f"no {_SETTER}"
    try:
        for part in parts:
            getattr(part, _SETTER)(True)
    except AssertionError as error:  # timm's word for a model that cannot
        parts, found = [], str(error)
    if not parts:
        what, expected = f"{type(model).__name__} has no gradient checkpointing", "a model of timm that has it"
        raise RecipeError(what, where="grad_checkpointing", expected=expected, found=found, remedy="leave it out")


def _outermost(module: nn.Module) -> list[nn.Module]:
    """Return the parts that turn gradient checkpointing on, and no parts of these."""
    if callable(getattr(module, _SETTER, None)):
        return [module]
    return [part for child in module.children() for part in _outermost(child)]


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms for the time of a backward pass, which runs forwards again.

    They would move twice in each step; with this, training with gradient checkpointing gives the same weights and
    statistics as without. Normalising without them would not do: torch compares what a forward saves with the first.
    """
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.training]
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, kept in zip(buffers, before, strict=True):
            buffer.copy_(kept)
