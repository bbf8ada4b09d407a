"""Running an image-to-image network on images of any size: enlarged input, padded sides, tiles.

What a network needs is found out by a try, before training and before each evaluation: whether it is to be given the
bicubically enlarged image, as it gives images of its input's size, and of what the input's sides must be multiples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.data.resizing import enlarged
from refconv.errors import ModelError, lacks_memory
from refconv.surgery import evaluating

TILE = 1024  #: Side of the tiles, in pixels of the network's input, in which larger images are restored
OVERLAP = 32
"""Pixels around a tile that the network sees as well; a network that looks no farther gives what it gives untiled."""

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_LEAST_TRIED = 48  # pixels


@dataclass(frozen=True)
class Needs:
    """Whether a network is given the bicubically enlarged image, and of what its input's sides must be multiples."""

    enlarge: bool
    multiple: int


def needs_of(model: nn.Module, *, in_chans: int, upscale: int) -> Needs:
    """Find out what an image-to-image network needs, by a few tries; its mode is put back afterwards."""
    first = next(model.parameters(), torch.empty(0))
    found = ""
    with evaluating(model), torch.no_grad():
        for multiple in _MULTIPLES:
            side = multiple * (math.ceil(_LEAST_TRIED / multiple) | 1)  # no multiple of twice as much
            image = torch.full((1, in_chans, side, side), 0.5, device=first.device, dtype=first.dtype)
            try:
                output = model(image)
            except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, ArithmeticError) as error:
                if lacks_memory(error):
                    raise
                found = found or f"{type(error).__name__} for {side} x {side}: {error}"
                continue
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            if shape == [1, in_chans, side * upscale, side * upscale]:
                return Needs(False, multiple)
            if shape == [1, in_chans, side, side]:
                return Needs(True, multiple)
            found = f"{shape} for {list(image.shape)}"
    larger = f", or that of the input {upscale} times larger" if upscale > 1 else ""
    what = "the network does not restore these images"
    expected = f"{in_chans} channels and the size of the input{larger}"
    remedy = f"give the network's builder the factor: model_kwargs upscale={upscale}" if upscale > 1 else None
    raise ModelError(what, where=type(model).__name__, expected=expected, found=found, remedy=remedy)


@torch.no_grad()
def restored(
    model: nn.Module, image: Tensor, needs: Needs, *, upscale: int, tile: int = TILE, overlap: int = OVERLAP
) -> Tensor:
    """Return a restored image [1, C, H * upscale, W * upscale]; not cut off to [0, 1].

    The model is in evaluation mode, the image [1, C, H, W] on its device. Images with a side above ``tile`` pixels are
    restored in tiles, of which the network sees ``overlap`` more pixels all round.
    """
    factor = 1 if needs.enlarge else upscale
    given = enlarged(image, upscale) if needs.enlarge else image
    height, width = given.shape[-2:]
    if max(height, width) <= tile:
        return _padded(model, given, needs.multiple, factor)
    result = given.new_empty(*given.shape[:2], height * factor, width * factor)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            above, before = min(top, overlap), min(left, overlap)
            bottom, right = min(top + tile, height), min(left + tile, width)
            part = given[..., top - above : bottom + overlap, left - before : right + overlap]
            inner = _padded(model, part, needs.multiple, factor)[..., above * factor :, before * factor :]
            place = result[..., top * factor : bottom * factor, left * factor : right * factor]
            place.copy_(inner[..., : place.shape[-2], : place.shape[-1]])
    return result


def _padded(model: nn.Module, image: Tensor, multiple: int, factor: int) -> Tensor:
    """Run a network on an image that is mirrored at its lower and right side up to multiples."""
    height, width = image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if below or right:
        # An image narrower than the padding has too little to mirror.
        mode = "reflect" if below < height and right < width else "replicate"
        image = F.pad(image, (0, right, 0, below), mode=mode)
    return cast(Tensor, model(image))[..., : height * factor, : width * factor]
