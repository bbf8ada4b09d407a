"""What changed between two models, in numbers: measures of their weights, each one file, models in and a record out.

All of them read plain models of one architecture and leave them as found; docs/analysis.md says how to read them.
"""

from refconv.analysis.agreement import Agreement, ChangedSample, ClassAgreement, agreement, mcnemar
from refconv.analysis.attention import AttendedImage, Attention, attention
from refconv.analysis.calibration import Calibration, ReliabilityBin, calibration
from refconv.analysis.components import FilterComponents, SizeComponents, filter_components
from refconv.analysis.curvature import Curvature, curvature
from refconv.analysis.filters import FilterQuality, FilterStatistics, LayerQuality, filter_statistics
from refconv.analysis.gaussians import GaussianFits, GaussianShares, LayerGaussians, gaussian_fits
from refconv.analysis.interpolation import Interpolation, interpolation
from refconv.analysis.kernels import KernelSamples, LayerKernels, kernels
from refconv.analysis.landscape import LossLine, LossSurface, ModelLine, ModelSurface, loss_line, loss_surface
from refconv.analysis.movement import LayerMovement, Movement, movement
from refconv.analysis.pairs import Kernel, KernelPair, find_kernels, pair_kernels
from refconv.analysis.probe import Conditions
from refconv.analysis.receptive_field import ReceptiveField, receptive_field
from refconv.analysis.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy, redundancy
from refconv.analysis.relations import LayerRelations, Relation, Relations, relations
from refconv.analysis.robustness import (
    AdversarialRobustness,
    CorruptionRobustness,
    Curve,
    ShiftConsistency,
    adversarial_robustness,
    corruption_robustness,
    shift_consistency,
)
from refconv.analysis.sharpness import ModelSharpness, Sharpness, Spread, sharpness
from refconv.analysis.similarity import LayerSimilarity, Similarity, similarity
from refconv.analysis.skeleton import LayerSkeleton, SizeSkeleton, Skeletons, TapMagnitudes, skeletons
from refconv.analysis.spectrum import GramSpectra, LayerSpectrum, gram_spectra

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
