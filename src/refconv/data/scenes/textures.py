"""Backgrounds without meaning: patterns of two colours, drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
"""[size, size], values in [0, 1]."""


def background(draw: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return a textured background [size, size, 3] with values in [0, 1].

    Args:
        draw: where all that is random comes from.
        size: height and width in pixels.
    """
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
