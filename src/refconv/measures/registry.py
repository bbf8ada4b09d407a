"""The record of each measure, by the name of its file, in the order of the page: measures of weights first."""

from __future__ import annotations

from importlib import import_module

from refconv.records import Record

RECORDS = {
    "redundancy": "redundancy.Redundancy",
    "skeleton": "skeleton.Skeletons",
    "filters": "filters.FilterStatistics",
    "components": "components.FilterComponents",
    "gaussians": "gaussians.GaussianFits",
    "movement": "movement.Movement",
    "relations": "relations.Relations",
    "spectrum": "spectrum.GramSpectra",
    "kernels": "kernels.KernelSamples",
    "scores": "scores.Scores",
    "agreement": "agreement.Agreement",
    "calibration": "calibration.Calibration",
    "similarity": "similarity.Similarity",
    "attention": "attention.Attention",
    "receptive_field": "receptive_field.ReceptiveField",
    "interpolation": "interpolation.Interpolation",
    "landscape": "landscape.LossLine",
    "surface": "landscape.LossSurface",
    "sharpness": "sharpness.Sharpness",
    "curvature": "curvature.Curvature",
    "attacks": "robustness.AdversarialRobustness",
    "corruptions": "robustness.CorruptionRobustness",
    "shifts": "robustness.ShiftConsistency",
}
"""Module and class, imported only to read a record, as the modules hold the verdicts, too, which read pairs."""


def measure_of(file: str) -> str:
    """Return the measure that a record belongs to: that of one of two models adds ``-before`` or ``-after``.

    Example:
        >>> measure_of("calibration-after"), measure_of("redundancy")
        ('calibration', 'redundancy')
    """
    return file.removesuffix("-before").removesuffix("-after")


def record_class(file: str) -> type[Record]:
    """Return the class of a record by the name of its file."""
    module, _, name = RECORDS[measure_of(file)].partition(".")
    found: type[Record] = getattr(import_module(f"refconv.measures.{module}"), name)
    return found
