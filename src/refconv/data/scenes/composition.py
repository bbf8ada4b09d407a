"""One scene: pictures of items laid over a textured background and over one another, and what is seen of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]  #: [size, size], values in [0, 1]
MIN_VISIBLE = 16  #: An item of which fewer pixels than this are seen gets no box and no instance mask
SIDES = (0.2, 0.55)  #: Range of an item's longer side, as a fraction of the scene's; uniform in the logarithm
TURN = math.radians(20)  #: Items are turned by up to this angle, in either direction


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture of one thing: brightness [H, W] from 0 to 1, and which pixels belong to the thing."""

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    label: int  # from 1 on


@dataclasses.dataclass(frozen=True)
class Instance:
    """An item as it is seen in a scene."""

    label: int
    mask: NDArray[np.bool_]  # the pixels that are seen, [size, size]
    truncated: bool  # goes beyond the scene
    occluded: bool  # another item hides a part of it

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
    """A picture and the truth about it; pixels of hidden items, if any, are in ``classes`` all the same."""

    image: NDArray[np.uint8]  # [size, size, 3]
    classes: NDArray[np.uint8]  # the class of each pixel, [size, size]; 0 is background
    instances: tuple[Instance, ...]  # at least MIN_VISIBLE pixels are seen; the hindmost first
    hidden: int  # number of items of which less is seen

    @property
    def objects(self) -> NDArray[np.uint8]:
        """The number of the instance that each pixel belongs to, from 1 on; uint8 [size, size]."""
        objects = np.zeros_like(self.classes)
        for number, instance in enumerate(self.instances, 1):
            objects[instance.mask] = number
        return objects


def compose(draw: np.random.Generator, items: Sequence[Item], *, size: int, mirror: bool) -> Scene:
    """Lay items, the hindmost first, over a textured background of ``size`` x ``size`` pixels.

    Every pixel shows one item or the background, never a mixture, so the masks are exact.
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
    """Turn, scale and move an item at random; return brightness and mask [size, size], and if a part lies outside."""
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


def background(draw: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return a textured background [size, size, 3] with values in [0, 1]."""
    field = PATTERNS[tuple(PATTERNS)[draw.integers(len(PATTERNS))]](draw, size)
    low, high = draw.uniform(0, 0.85, (2, 3))
    grain = draw.normal(0, draw.uniform(0.01, 0.06), (size, size, 1))
    image: NDArray[np.float64] = np.clip(low + (high - low) * field[..., None] + grain, 0, 1)
    return image


def _noise(draw: np.random.Generator, size: int) -> Field:
    """Sum of random grids of doubling fineness, each half as strong as the one before."""
    from scipy.ndimage import map_coordinates

    field = np.zeros((size, size))
    for octave in range(4):
        cells = 2 ** (octave + 1)
        along = np.linspace(0, cells, size)
        grid = draw.uniform(-1, 1, (cells + 1, cells + 1))
        field += 0.5**octave * map_coordinates(grid, np.meshgrid(along, along, indexing="ij"), order=1)
    return _stretched(field)


def _stripes(draw: np.random.Generator, size: int) -> Field:
    return _edged(draw, np.sin(2 * np.pi * draw.uniform(2, 12) * _ramp(draw, size) + draw.uniform(0, 2 * np.pi)))


def _checks(draw: np.random.Generator, size: int) -> Field:
    angle, waves = draw.uniform(0, np.pi), draw.uniform(2, 8)
    sides = [np.sin(2 * np.pi * waves * _ramp(draw, size, angle + turn)) for turn in (0, np.pi / 2)]
    return _edged(draw, sides[0] * sides[1])


def _gradient(draw: np.random.Generator, size: int) -> Field:
    return _stretched(_ramp(draw, size))


def _blobs(draw: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[0:size, 0:size] / size
    field = np.zeros((size, size))
    for _ in range(draw.integers(4, 16)):
        (row, column), radius = draw.uniform(0, 1, 2), draw.uniform(0.03, 0.2)
        field += np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2))
    return _edged(draw, 2 * _stretched(field) - 1)


PATTERNS: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "noise": _noise,
    "stripes": _stripes,
    "checks": _checks,
    "gradient": _gradient,
    "blobs": _blobs,
}


def _ramp(draw: np.random.Generator, size: int, angle: float | None = None) -> Field:
    """Return what grows by 1 over the image's side in one direction, a random one by default."""
    y, x = np.mgrid[0:size, 0:size] / size
    angle = draw.uniform(0, 2 * np.pi) if angle is None else angle
    ramp: Field = x * np.cos(angle) + y * np.sin(angle)
    return ramp


def _edged(draw: np.random.Generator, wave: Field) -> Field:
    """Bring a wave in [-1, 1] to [0, 1], its edges soft or sharp."""
    field: Field = 0.5 + 0.5 * np.tanh(wave * np.exp(draw.uniform(0, 3)))
    return field


def _stretched(field: Field) -> Field:
    low, high = field.min(), field.max()
    stretched: Field = (field - low) / max(high - low, 1e-12)
    return stretched
