"""What changed between two models, in numbers: measures take plain models and return a record.

Models are left as found; docs/analysis.md says how to read the records. Measures share these arguments:

* ``before`` and ``after``: two models of one architecture, the earlier first; ``model``: one model.
* ``include``, ``exclude``: layers to look at and to leave out, as in :func:`refconv.layers.select`; by default all
  kernels of more than one tap.
* ``map_size``, ``order``, ``scale``, ``power``: as in :func:`refconv.refocus`, and as in training if it refocused.
* ``batches``: pairs (samples [batch, channels, ...], targets [batch]), normalised as the models expect them and on
  their device: a list, or a function that returns an iterator that starts over.
* ``mean``, ``std``: of the normalisation, per channel: sample = (pixel - mean) / std.
* ``calibration``: batches that batch-norm statistics are collected on, best training data; by default ``batches``.
* ``loss``: of outputs and targets, the mean over a batch; by default cross-entropy.
* ``seed``: of what is drawn at random: directions, noise, and samples of large layers or of many images.
* ``max_samples``: samples to stop at; None takes all. The record's ``cut`` says whether there were more.
* ``max_seconds``: take fewer samples, as many as this time allows, about.
* ``progress``: called with what is done and what there is in all, in samples, points, directions or products.

They raise ModelError for models that cannot be compared or measured, or that do not take the data, DataError for
batches that cannot be used, and SettingError for an argument that has no meaning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from refconv.measures.agreement import Agreement, Calibration, ChangedSample, ClassAgreement, ReliabilityBin
from refconv.measures.cues import CueConflict, Cues
from refconv.measures.embeddings import Neighbourhood, Neighbours, Probes, ProbeScore
from refconv.measures.explanations import Area, Explanations, MapFaithfulness
from refconv.measures.features import AttendedImage, Attention, LayerSimilarity, ReceptiveField, Similarity
from refconv.measures.filters import (
    FilterQuality,
    FilterStatistics,
    GaussianFits,
    GaussianShares,
    LayerGaussians,
    LayerQuality,
)
from refconv.measures.frequencies import (
    FeatureSpectra,
    KernelSmoothness,
    LayerAmplitudes,
    LayerNorms,
    LayerSmoothness,
    OperatorNorm,
    Smoothness,
    SpectralNorms,
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
from refconv.measures.ranges import ChannelRanges, LayerRanges, WeightRanges
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
from refconv.measures.steps import ExplainedShare, LayerStep, StepShares

if TYPE_CHECKING:
    from refconv.analysis.measures.amplitudes import feature_spectra
    from refconv.analysis.measures.attribution import attention, receptive_field
    from refconv.analysis.measures.cues import cue_conflict
    from refconv.analysis.measures.curvature import curvature
    from refconv.analysis.measures.embeddings import linear_probes, nearest_neighbours
    from refconv.analysis.measures.explanations import explanations
    from refconv.analysis.measures.filters import filter_statistics, redundancy
    from refconv.analysis.measures.frequencies import kernel_smoothness, spectral_norms
    from refconv.analysis.measures.grams import gram_spectra, movement, relations
    from refconv.analysis.measures.kernels import kernels, skeletons
    from refconv.analysis.measures.landscape import interpolation, loss_line, loss_surface, sharpness
    from refconv.analysis.measures.outputs import agreement, calibration, mcnemar
    from refconv.analysis.measures.patterns import filter_components, gaussian_fits
    from refconv.analysis.measures.ranges import weight_ranges
    from refconv.analysis.measures.robustness import adversarial_robustness, corruption_robustness, shift_consistency
    from refconv.analysis.measures.similarity import similarity
    from refconv.analysis.measures.steps import step_shares
    from refconv.analysis.pairs import Kernel, KernelPair, find_kernels, pair_kernels

# fmt: off
__all__ = [
    "AdversarialRobustness", "Agreement", "Area", "AttendedImage", "Attention", "Calibration", "ChangedSample",
    "ChannelRanges", "ChannelRedundancy", "ClassAgreement", "Conditions", "CorruptionRobustness", "CueConflict",
    "Cues", "Curvature", "Curve", "ExplainedShare", "Explanations", "FeatureSpectra", "FilterComponents",
    "FilterQuality", "FilterStatistics", "GaussianFits", "GaussianShares", "GramSpectra", "Interpolation", "Kernel",
    "KernelPair", "KernelSamples", "KernelSmoothness", "LayerAmplitudes", "LayerGaussians", "LayerKernels",
    "LayerMovement", "LayerNorms", "LayerQuality", "LayerRanges", "LayerRedundancy", "LayerRelations",
    "LayerSimilarity", "LayerSkeleton", "LayerSmoothness", "LayerSpectrum", "LayerStep", "LossLine", "LossSurface",
    "MapFaithfulness", "ModelLine", "ModelSharpness", "ModelSurface", "Movement", "Neighbourhood", "Neighbours",
    "OperatorNorm", "ProbeScore", "Probes", "ReceptiveField", "Redundancy", "Relation", "Relations",
    "ReliabilityBin", "Sharpness", "ShiftConsistency", "Similarity", "SizeComponents", "SizeSkeleton", "Skeletons",
    "Smoothness", "SpectralNorms", "Spread", "StepShares", "TapMagnitudes", "WeightRanges",
    "adversarial_robustness", "agreement", "attention", "calibration", "corruption_robustness", "cue_conflict",
    "curvature", "explanations", "feature_spectra", "filter_components", "filter_statistics", "find_kernels",
    "gaussian_fits", "gram_spectra", "interpolation", "kernel_smoothness", "kernels", "linear_probes", "loss_line",
    "loss_surface", "mcnemar", "movement", "nearest_neighbours", "pair_kernels", "receptive_field", "redundancy",
    "relations", "sharpness", "shift_consistency", "similarity", "skeletons", "spectral_norms", "step_shares",
    "weight_ranges",
]
# fmt: on


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name in __all__:
        for home in ("pairs", "registry", "measures.outputs", "measures.robustness", "measures.cues", "measures.steps"):
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
