"""The record class of each measure, by the name of its file."""

from __future__ import annotations

from refconv.measures.agreement import Agreement
from refconv.measures.attention import Attention
from refconv.measures.calibration import Calibration
from refconv.measures.components import FilterComponents
from refconv.measures.curvature import Curvature
from refconv.measures.filters import FilterStatistics
from refconv.measures.gaussians import GaussianFits
from refconv.measures.interpolation import Interpolation
from refconv.measures.kernels import KernelSamples
from refconv.measures.landscape import LossLine, LossSurface
from refconv.measures.movement import Movement
from refconv.measures.receptive_field import ReceptiveField
from refconv.measures.redundancy import Redundancy
from refconv.measures.relations import Relations
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, ShiftConsistency
from refconv.measures.scores import Scores
from refconv.measures.sharpness import Sharpness
from refconv.measures.similarity import Similarity
from refconv.measures.skeleton import Skeletons
from refconv.measures.spectrum import GramSpectra
from refconv.records import Record

RECORDS: dict[str, type[Record]] = {
    "redundancy": Redundancy,
    "skeleton": Skeletons,
    "filters": FilterStatistics,
    "components": FilterComponents,
    "gaussians": GaussianFits,
    "movement": Movement,
    "relations": Relations,
    "spectrum": GramSpectra,
    "kernels": KernelSamples,
    "scores": Scores,
    "agreement": Agreement,
    "calibration": Calibration,
    "similarity": Similarity,
    "attention": Attention,
    "receptive_field": ReceptiveField,
    "interpolation": Interpolation,
    "landscape": LossLine,
    "surface": LossSurface,
    "sharpness": Sharpness,
    "curvature": Curvature,
    "attacks": AdversarialRobustness,
    "corruptions": CorruptionRobustness,
    "shifts": ShiftConsistency,
}
"""In the order of the page, measures of weights first; a record of one of two models adds ``-before`` or ``-after``."""


def measure_of(file: str) -> str:
    """Return the name of the measure that a record's name belongs to.

    Example:
        >>> measure_of("calibration-after"), measure_of("redundancy")
        ('calibration', 'redundancy')
    """
    return file.removesuffix("-before").removesuffix("-after")
