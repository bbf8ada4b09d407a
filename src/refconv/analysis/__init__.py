"""What changed between two models, in numbers: measures of their weights, each one file, models in and a record out.

All of them read plain models of one architecture and leave them as found; docs/analysis.md says how to read them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from refconv.measures.agreement import Agreement, Calibration, ChangedSample, ClassAgreement, ReliabilityBin
    from refconv.measures.features import AttendedImage, Attention, LayerSimilarity, ReceptiveField, Similarity
    from refconv.measures.filters import (
        FilterQuality,
        FilterStatistics,
        GaussianFits,
        GaussianShares,
        LayerGaussians,
        LayerQuality,
    )
    from refconv.measures.kernels import (
        FilterComponents,
        KernelSamples,
        LayerKernels,
        LayerSkeleton,
        SizeComponents,
        SizeSkeleton,
        Skeletons,
        TapMagnitudes,
    )
    from refconv.measures.landscape import Conditions, Interpolation, LossLine, LossSurface, ModelLine, ModelSurface
    from refconv.measures.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy
    from refconv.measures.refocusing import (
        GramSpectra,
        LayerMovement,
        LayerRelations,
        LayerSpectrum,
        Movement,
        Relation,
        Relations,
    )
    from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, Curve, ShiftConsistency
    from refconv.measures.sharpness import Curvature, ModelSharpness, Sharpness, Spread

_HOMES = {
    "refconv.analysis.measures.agreement": ("agreement", "mcnemar"),
    "refconv.analysis.measures.attention": ("attention",),
    "refconv.analysis.measures.calibration": ("calibration",),
    "refconv.analysis.measures.components": ("filter_components",),
    "refconv.analysis.measures.curvature": ("curvature",),
    "refconv.analysis.measures.filters": ("filter_statistics",),
    "refconv.analysis.measures.gaussians": ("gaussian_fits",),
    "refconv.analysis.measures.interpolation": ("interpolation",),
    "refconv.analysis.measures.kernels": ("kernels",),
    "refconv.analysis.measures.landscape": ("loss_line", "loss_surface"),
    "refconv.analysis.measures.movement": ("movement",),
    "refconv.analysis.measures.receptive_field": ("receptive_field",),
    "refconv.analysis.measures.redundancy": ("redundancy",),
    "refconv.analysis.measures.relations": ("relations",),
    "refconv.analysis.measures.robustness": ("adversarial_robustness", "corruption_robustness", "shift_consistency"),
    "refconv.analysis.measures.sharpness": ("sharpness",),
    "refconv.analysis.measures.similarity": ("similarity",),
    "refconv.analysis.measures.skeleton": ("skeletons",),
    "refconv.analysis.measures.spectrum": ("gram_spectra",),
    "refconv.analysis.pairs": ("Kernel", "KernelPair", "find_kernels", "pair_kernels"),
    "refconv.measures.agreement": ("Agreement", "Calibration", "ChangedSample", "ClassAgreement", "ReliabilityBin"),
    "refconv.measures.features": ("AttendedImage", "Attention", "LayerSimilarity", "ReceptiveField", "Similarity"),
    "refconv.measures.filters": (
        "FilterQuality",
        "FilterStatistics",
        "GaussianFits",
        "GaussianShares",
        "LayerGaussians",
        "LayerQuality",
    ),
    "refconv.measures.kernels": (
        "FilterComponents",
        "KernelSamples",
        "LayerKernels",
        "LayerSkeleton",
        "SizeComponents",
        "SizeSkeleton",
        "Skeletons",
        "TapMagnitudes",
    ),
    "refconv.measures.landscape": (
        "Conditions",
        "Interpolation",
        "LossLine",
        "LossSurface",
        "ModelLine",
        "ModelSurface",
    ),
    "refconv.measures.redundancy": ("ChannelRedundancy", "LayerRedundancy", "Redundancy"),
    "refconv.measures.refocusing": (
        "GramSpectra",
        "LayerMovement",
        "LayerRelations",
        "LayerSpectrum",
        "Movement",
        "Relation",
        "Relations",
    ),
    "refconv.measures.robustness": ("AdversarialRobustness", "CorruptionRobustness", "Curve", "ShiftConsistency"),
    "refconv.measures.sharpness": ("Curvature", "ModelSharpness", "Sharpness", "Spread"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
