"""Masks that a user gives: which entries of kernels are zero and stay so.

Note [How a mask is stored]. Entries outside a mask become zero, as in ``torch.nn.utils.prune.custom_from_mask``, and
``zeros="keep"`` finds them there, in both spaces, in every file and after every resumption. An entry inside the mask
that happens to be zero becomes the smallest number that float16 holds, 6e-8, to be told from the others in every dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from refconv.digests import reading_tensors
from refconv.errors import CheckpointError, LayerError, SettingError, did_you_mean, names_beside
from refconv.layers.find import Layer
from refconv.layers.stored import KERNEL
from refconv.paths import path_of

LEAST = 2.0**-24  #: What entries inside of a mask amount to at least
Masks = Mapping[str, Tensor]  #: Boolean masks, in the stored shape of their kernels, by the names of layers


def read_masks(path: Path | str) -> dict[str, Tensor]:
    """Return the masks in a safetensors file.

    Raises:
        CheckpointError: if it cannot be read.
    """
    path, expected = path_of(path), "a safetensors file of boolean masks by the names of layers"
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise CheckpointError(what, where=str(path), expected=expected, remedy=names_beside(path))
    with reading_tensors(path, "a file of masks", expected=expected):
        masks: dict[str, Tensor] = safetensors.torch.load_file(path)
    return masks


def matched(masks: Masks | None, layers: Iterable[Layer]) -> list[tuple[Layer, Tensor]]:
    """Return the layers that masks are for, all of them checked; ``NAME.weight`` is understood as ``NAME``.

    Boolean arrays of numpy are masks too.

    Raises:
        SettingError: if a name is none of these layers, or a mask is not boolean or of another shape than its kernel.
        LayerError: if a mask leaves nothing of a kernel, or a kernel is sharded or has no values.
    """
    known = {layer.name: layer for layer in layers}
    found = []
    asked: Any = {} if masks is None else masks
    if not isinstance(asked, Mapping):
        expected, kind = "boolean tensors by the names of layers, as in {'layer1.0.conv1': mask}", type(asked).__name__
        raise SettingError("not masks", where="mask", expected=expected, found=kind)
    for given, mask in asked.items():
        name = given if given in known else given.removesuffix(f".{KERNEL}")
        if name not in known:
            expected, remedy = "one of the layers that are trained here", did_you_mean(name, known)
            raise SettingError(f"no such layer: {given!r}", where="mask", expected=expected, remedy=remedy)
        weight, where = known[name].weight, f"mask of {given}"
        if str(getattr(mask, "dtype", None)) == "bool":  # of numpy; torch says torch.bool
            mask = torch.as_tensor(mask)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = str(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
            raise SettingError("not a mask", where=where, expected="a boolean tensor", found=kind, remedy="mask != 0")
        if weight is None or weight.is_meta or hasattr(weight, "device_mesh"):
            what, remedy = "the kernel has no values here that could be masked", "mask it before sharding the model"
            raise LayerError(what, where=known[name].label, remedy=remedy)
        if mask.shape != weight.shape:
            shapes = str(list(weight.shape)), str(list(mask.shape))
            raise SettingError("of another shape than the kernel", where=where, expected=shapes[0], found=shapes[1])
        if not bool((weight.detach() != 0)[mask.to(weight.device)].any()):
            raise LayerError("the mask leaves nothing of the kernel", where=known[name].label, remedy="leave it out")
        found.append((known[name], mask.to(weight.device)))
    return found


@torch.no_grad()
def apply_masks(pairs: Iterable[tuple[Layer, Tensor]]) -> None:
    """Set what is outside of masks to zero, and let what is inside be no smaller than :data:`LEAST`."""
    for layer, mask in pairs:
        assert layer.weight is not None
        layer.weight.data.copy_(masked(layer.weight.data, mask))


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """Return a kernel that is zero outside of a mask and nowhere smaller than :data:`LEAST` inside."""
    parts, inside = (torch.view_as_real(weight), mask[..., None]) if weight.is_complex() else (weight, mask)
    least = torch.full_like(parts, LEAST).copysign(parts)
    kept = torch.where(inside, torch.where(parts.abs() < LEAST, least, parts), 0)
    return torch.view_as_complex(kept) if weight.is_complex() else kept
