"""What changed between two models, in numbers: measures of their weights, each one file, models in and a record out.

All of them read plain models of one architecture and leave them as found; docs/analysis.md says how to read them.
"""

from refconv.analysis.measures.agreement import Agreement, ChangedSample, ClassAgreement, agreement, mcnemar
from refconv.analysis.measures.attention import AttendedImage, Attention, attention
from refconv.analysis.measures.calibration import Calibration, ReliabilityBin, calibration
from refconv.analysis.measures.components import FilterComponents, SizeComponents, filter_components
from refconv.analysis.measures.curvature import Curvature, curvature
from refconv.analysis.measures.filters import FilterQuality, FilterStatistics, LayerQuality, filter_statistics
from refconv.analysis.measures.gaussians import GaussianFits, GaussianShares, LayerGaussians, gaussian_fits
from refconv.analysis.measures.interpolation import Interpolation, interpolation
from refconv.analysis.measures.kernels import KernelSamples, LayerKernels, kernels
from refconv.analysis.measures.landscape import LossLine, LossSurface, ModelLine, ModelSurface, loss_line, loss_surface
from refconv.analysis.measures.movement import LayerMovement, Movement, movement
from refconv.analysis.measures.receptive_field import ReceptiveField, receptive_field
from refconv.analysis.measures.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy, redundancy
from refconv.analysis.measures.relations import LayerRelations, Relation, Relations, relations
from refconv.analysis.measures.robustness import (
    AdversarialRobustness,
    CorruptionRobustness,
    Curve,
    ShiftConsistency,
    adversarial_robustness,
    corruption_robustness,
    shift_consistency,
)
from refconv.analysis.measures.sharpness import ModelSharpness, Sharpness, Spread, sharpness
from refconv.analysis.measures.similarity import LayerSimilarity, Similarity, similarity
from refconv.analysis.measures.skeleton import LayerSkeleton, SizeSkeleton, Skeletons, TapMagnitudes, skeletons
from refconv.analysis.measures.spectrum import GramSpectra, LayerSpectrum, gram_spectra
from refconv.analysis.pairs import Kernel, KernelPair, find_kernels, pair_kernels
from refconv.analysis.probe import Conditions

__all__ = [
    "AdversarialRobustness",
    "Agreement",
    "AttendedImage",
    "Attention",
    "Calibration",
    "ChangedSample",
    "ChannelRedundancy",
    "ClassAgreement",
    "Conditions",
    "CorruptionRobustness",
    "Curvature",
    "Curve",
    "FilterComponents",
    "FilterQuality",
    "FilterStatistics",
    "GaussianFits",
    "GaussianShares",
    "GramSpectra",
    "Interpolation",
    "Kernel",
    "KernelPair",
    "KernelSamples",
    "LayerGaussians",
    "LayerKernels",
    "LayerMovement",
    "LayerQuality",
    "LayerRedundancy",
    "LayerRelations",
    "LayerSimilarity",
    "LayerSkeleton",
    "LayerSpectrum",
    "LossLine",
    "LossSurface",
    "ModelLine",
    "ModelSharpness",
    "ModelSurface",
    "Movement",
    "ReceptiveField",
    "Redundancy",
    "Relation",
    "Relations",
    "ReliabilityBin",
    "Sharpness",
    "ShiftConsistency",
    "Similarity",
    "SizeComponents",
    "SizeSkeleton",
    "Skeletons",
    "Spread",
    "TapMagnitudes",
    "adversarial_robustness",
    "agreement",
    "attention",
    "calibration",
    "corruption_robustness",
    "curvature",
    "filter_components",
    "filter_statistics",
    "find_kernels",
    "gaussian_fits",
    "gram_spectra",
    "interpolation",
    "kernels",
    "loss_line",
    "loss_surface",
    "mcnemar",
    "movement",
    "pair_kernels",
    "receptive_field",
    "redundancy",
    "relations",
    "sharpness",
    "shift_consistency",
    "similarity",
    "skeletons",
]
