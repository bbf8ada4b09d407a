"""The sections of the page, a file each: records of pairs in, words, numbers and pictures out.

Each is a :class:`~refconv.report.sections.spec.Spec`: called with all pairs, it returns None if no pair has its record.
"""

from __future__ import annotations

from refconv.report.sections import (
    agreement,
    attacks,
    attention,
    calibration,
    components,
    corruptions,
    curvature,
    filters,
    gaussians,
    interpolation,
    kernels,
    landscape,
    movement,
    receptive_field,
    redundancy,
    relations,
    scores,
    sharpness,
    shifts,
    similarity,
    skeleton,
    spectrum,
)
from refconv.report.sections.spec import Spec

SECTIONS: tuple[Spec, ...] = (
    redundancy.section,
    skeleton.section,
    filters.section,
    components.section,
    gaussians.section,
    movement.section,
    relations.section,
    spectrum.section,
    kernels.section,
    scores.section,
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
