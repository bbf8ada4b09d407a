"""The record of each measure, by the name of its file, in the order of the page: measures of weights first."""

from __future__ import annotations

from importlib import import_module

from refconv.records import Record

RECORDS = {
    "redundancy": "redundancy.Redundancy",
    "skeleton": "kernels.Skeletons",
    "filters": "filters.FilterStatistics",
    "components": "kernels.FilterComponents",
    "gaussians": "filters.GaussianFits",
    "movement": "refocusing.Movement",
    "relations": "refocusing.Relations",
    "spectrum": "refocusing.GramSpectra",
    "kernels": "kernels.KernelSamples",
    "scores": "scores.Scores",
    "agreement": "agreement.Agreement",
    "calibration": "agreement.Calibration",
    "similarity": "features.Similarity",
    "attention": "features.Attention",
    "receptive_field": "features.ReceptiveField",
    "interpolation": "landscape.Interpolation",
    "landscape": "landscape.LossLine",
    "surface": "landscape.LossSurface",
    "sharpness": "sharpness.Sharpness",
    "curvature": "sharpness.Curvature",
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
