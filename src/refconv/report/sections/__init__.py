"""The sections of the page, a file each: records of pairs in, words, numbers and pictures out.

Each is called with all pairs and returns None if no pair has its record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.report.elements import Section
from refconv.report.pairs import Pair
from refconv.report.sections import (
    agreement,
    attacks,
    attention,
    calibration,
    corruptions,
    curvature,
    interpolation,
    landscape,
    receptive_field,
    sharpness,
    shifts,
    similarity,
)

SECTIONS: tuple[Callable[[Sequence[Pair]], Section | None], ...] = (
    agreement.section,
    calibration.section,
    similarity.section,
    attention.section,
    receptive_field.section,
    interpolation.section,
    landscape.section,
    sharpness.section,
    curvature.section,
    attacks.section,
    corruptions.section,
    shifts.section,
)
"""In the order of the page: weights first, then what needs data."""
