"""From a classifier to a backbone: the weights that a detector or segmenter takes over.

A backbone is the classifier without its head, somewhere inside another model, and timm names its stages a little
differently when it hands out features: ``stages_0`` for ``stages.0``. So the backbone is found by what it is: the part
of the model all of whose weights the classifier has, by name and shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from refconv.errors import CheckpointError
from refconv.models.creation import plain_weights
from refconv.surgery import in_kernel_space

_LEAST = 4  # tensors; a smaller part could fit by chance


def load_backbone(model: nn.Module, reference: str | Path) -> str:
    """Start the backbone of a model from a classifier; a refocused run is merged first."""
    state = plain_weights(reference)
    if in_kernel_space(state):
        raise CheckpointError(
            "holds refocused kernels", where=str(reference), remedy="merge it first: refconv merge FILE --model NAME"
        )
    return fill_backbone(model, state, where=str(reference))


def fill_backbone(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> str:
    """Fill the largest part of a model that a classifier's weights cover wholly; the rest stays as it is."""
    best: tuple[int, str, dict[str, Tensor], dict[str, Tensor]] = (0, "", {}, {})
    nearest: tuple[int, str, list[str]] = (0, "", [])
    for start in ("", *dict.fromkeys(f"{name.split('.')[0]}." for name in state)):  # torchvision's lie in "features."
        source = {_canonical(name.removeprefix(start)): t for name, t in state.items() if name.startswith(start)}
        for prefix, module in model.named_modules():
            own = module.state_dict()
            fits = {name for name, value in own.items() if _fits(source.get(_canonical(name)), value)}
            if len(own) >= _LEAST and len(fits) == len(own) > best[0]:
                best = (len(own), prefix, own, source)
            if len(fits) > nearest[0]:
                nearest = (len(fits), prefix, [name for name in own if name not in fits])
    count, prefix, own, source = best
    # A part of the backbone may fit while the backbone does not: a block alone, or a stem of other channels.
    if not count or 2 * count < len(state):
        _, near, lacking = nearest
        raise CheckpointError(
            "no part of the model is the backbone of this classifier",
            where=where,
            expected="the weights of the backbone, by name and shape",
            found=f"{len(lacking)} that differ in {near or 'the model'}, such as {lacking[0]}"
            if lacking
            else "nothing alike",
            remedy="train the classifier with the same architecture and input channels",
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(source[_canonical(name)])
    return prefix


def _canonical(name: str) -> str:
    return name.replace("_", ".")


def _fits(given: Tensor | None, wanted: Tensor) -> bool:
    return given is not None and given.shape == wanted.shape
