"""One scene: small pictures of items laid over a background and over one another, and what is seen of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refconv.data.scenes.textures import background

MIN_VISIBLE = 16
"""An item of which fewer pixels than this are seen gets no box and no instance mask."""

SIDES = (0.2, 0.55)
"""Range of an item's longer side, as a fraction of the scene's; uniform in the logarithm."""

TURN = math.radians(20)
"""Items are turned by up to this angle, in either direction."""


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture of one thing.

    Attributes:
        pixels: brightness [H, W], from 0 to 1.
        mask: which pixels belong to the thing, [H, W].
        label: its class, from 1 on.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    label: int


@dataclasses.dataclass(frozen=True)
class Instance:
    """An item as it is seen in a scene.

    Attributes:
        label: its class, from 1 on.
        mask: the pixels that are seen, [size, size].
        truncated: whether it goes beyond the scene.
        occluded: whether another item hides a part of it.
    """

    label: int
    mask: NDArray[np.bool_]
    truncated: bool
    occluded: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The smallest box around what is seen: x0, y0, x1, y1, the last two exclusive."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @property
    def area(self) -> int:
        """How many pixels are seen."""
        return int(self.mask.sum())


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture and the truth about it.

    Attributes:
        image: uint8 [size, size, 3].
        classes: the class of each pixel, uint8 [size, size]; 0 is background.
        instances: the items with at least :data:`MIN_VISIBLE` pixels to be seen, the hindmost first.
        hidden: items of which less is seen; their pixels, if any, are in ``classes`` all the same.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    instances: tuple[Instance, ...]
    hidden: int

    @property
    def objects(self) -> NDArray[np.uint8]:
        """The number of the instance that each pixel belongs to, from 1 on; uint8 [size, size]."""
        objects = np.zeros_like(self.classes)
        for number, instance in enumerate(self.instances, 1):
            objects[instance.mask] = number
        return objects


def compose(draw: np.random.Generator, items: Sequence[Item], *, size: int, mirror: bool) -> Scene:
    """Lay items over a textured background, each before those that came earlier.

    Every pixel shows one item or the background, never a mixture, so the masks are exact.

    Args:
        draw: where all that is random comes from.
        items: the hindmost first.
        size: height and width of the scene in pixels.
        mirror: whether left and right of an item may be exchanged.
    """
    image = background(draw, size)
    owner = np.zeros((size, size), dtype=np.int64)
    placed = []
    for number, item in enumerate(items, 1):
        brightness, mask, truncated = _placed(draw, item, size=size, mirror=mirror)
        tint = draw.uniform(0.25, 1, 3)
        image[mask] = (0.25 + 0.75 * brightness[mask])[:, None] * tint
        owner[mask] = number
        placed.append((item.label, mask, truncated))
    classes = np.zeros((size, size), dtype=np.uint8)
    instances = []
    for number, (label, mask, truncated) in enumerate(placed, 1):
        seen = owner == number
        classes[seen] = label
        if seen.sum() >= MIN_VISIBLE:
            instances.append(Instance(label, seen, truncated, bool(seen.sum() < mask.sum())))
    pixels = np.rint(255 * image).astype(np.uint8)
    return Scene(pixels, classes, tuple(instances), hidden=len(placed) - len(instances))


def _placed(
    draw: np.random.Generator, item: Item, *, size: int, mirror: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_], bool]:
    """Turn, scale and move an item at random.

    Returns:
        Its brightness [size, size], its mask [size, size], and whether a part of it lies outside.
    """
    from scipy.ndimage import map_coordinates

    height, width = item.pixels.shape
    zoom = size * math.exp(draw.uniform(*np.log(SIDES))) / max(height, width)
    angle = draw.uniform(-TURN, TURN)
    middle = draw.uniform(0.1, 0.9, 2) * size
    flip = -1 if mirror and draw.random() < 0.5 else 1
    # One frame that surely holds the whole item, though it may go beyond the scene.
    reach = math.ceil(zoom * math.hypot(height, width) / 2) + 1
    corner = np.floor(middle).astype(int) - reach
    # Centres of pixels lie at halves, in the scene as in the item.
    y, x = np.mgrid[0 : 2 * reach, 0 : 2 * reach] + (corner + 0.5 - middle)[:, None, None]
    places = [
        (math.cos(angle) * y - math.sin(angle) * x) / zoom + height / 2 - 0.5,
        flip * (math.sin(angle) * y + math.cos(angle) * x) / zoom + width / 2 - 0.5,
    ]
    inside = map_coordinates(item.mask.astype(np.float32), places, order=1) > 0.5
    brightness, mask = np.zeros((size, size)), np.zeros((size, size), dtype=bool)
    first, last = np.clip(corner, 0, size), np.clip(corner + 2 * reach, 0, size)
    here = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    there = tuple(slice(a, b) for a, b in zip(first - corner, last - corner, strict=True))
    brightness[here] = map_coordinates(item.pixels, places, order=1)[there]
    mask[here] = inside[there]
    return brightness, mask, bool(mask.sum() < inside.sum())
