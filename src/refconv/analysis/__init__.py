"""What changed between two models, in numbers: measures of their weights, each one file, models in and a record out.

All of them read plain models of one architecture and leave them as found; docs/analysis.md says how to read them.
"""

from refconv.analysis.measures.agreement import agreement, mcnemar
from refconv.analysis.measures.attention import attention
from refconv.analysis.measures.calibration import calibration
from refconv.analysis.measures.components import filter_components
from refconv.analysis.measures.curvature import curvature
from refconv.analysis.measures.filters import filter_statistics
from refconv.analysis.measures.gaussians import gaussian_fits
from refconv.analysis.measures.interpolation import interpolation
from refconv.analysis.measures.kernels import kernels
from refconv.analysis.measures.landscape import loss_line, loss_surface
from refconv.analysis.measures.movement import movement
from refconv.analysis.measures.receptive_field import receptive_field
from refconv.analysis.measures.redundancy import redundancy
from refconv.analysis.measures.relations import relations
from refconv.analysis.measures.robustness import adversarial_robustness, corruption_robustness, shift_consistency
from refconv.analysis.measures.sharpness import sharpness
from refconv.analysis.measures.similarity import similarity
from refconv.analysis.measures.skeleton import skeletons
from refconv.analysis.measures.spectrum import gram_spectra
from refconv.analysis.pairs import Kernel, KernelPair, find_kernels, pair_kernels
from refconv.measures.agreement import Agreement, ChangedSample, ClassAgreement
from refconv.measures.attention import AttendedImage, Attention
from refconv.measures.calibration import Calibration, ReliabilityBin
from refconv.measures.components import FilterComponents, SizeComponents
from refconv.measures.conditions import Conditions
from refconv.measures.curvature import Curvature
from refconv.measures.filters import FilterQuality, FilterStatistics, LayerQuality
from refconv.measures.gaussians import GaussianFits, GaussianShares, LayerGaussians
from refconv.measures.interpolation import Interpolation
from refconv.measures.kernels import KernelSamples, LayerKernels
from refconv.measures.landscape import LossLine, LossSurface, ModelLine, ModelSurface
from refconv.measures.movement import LayerMovement, Movement
from refconv.measures.receptive_field import ReceptiveField
from refconv.measures.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy
from refconv.measures.relations import LayerRelations, Relation, Relations
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, Curve, ShiftConsistency
from refconv.measures.sharpness import ModelSharpness, Sharpness, Spread
from refconv.measures.similarity import LayerSimilarity, Similarity
from refconv.measures.skeleton import LayerSkeleton, SizeSkeleton, Skeletons, TapMagnitudes
from refconv.measures.spectrum import GramSpectra, LayerSpectrum

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
