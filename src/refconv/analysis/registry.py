"""The measures by the names of their files, for whoever runs them all: of weights alone, and with data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from refconv.analysis.batches import Batches, Progress
from refconv.analysis.measures.amplitudes import feature_spectra
from refconv.analysis.measures.attribution import attention, receptive_field
from refconv.analysis.measures.curvature import curvature
from refconv.analysis.measures.embeddings import linear_probes, nearest_neighbours
from refconv.analysis.measures.explanations import explanations
from refconv.analysis.measures.filters import filter_statistics, redundancy
from refconv.analysis.measures.frequencies import kernel_smoothness, spectral_norms
from refconv.analysis.measures.grams import gram_spectra, movement, relations
from refconv.analysis.measures.kernels import kernels, skeletons
from refconv.analysis.measures.landscape import interpolation, loss_line, loss_surface, sharpness
from refconv.analysis.measures.outputs import agreement, calibration
from refconv.analysis.measures.patterns import filter_components, gaussian_fits
from refconv.analysis.measures.ranges import weight_ranges
from refconv.analysis.measures.robustness import adversarial_robustness, corruptions_of, shift_consistency
from refconv.analysis.measures.similarity import similarity
from refconv.analysis.timing import halved
from refconv.records import Record

WEIGHT_MEASURES: dict[str, Callable[..., Record]] = {
    "redundancy": redundancy,
    "skeleton": skeletons,
    "filters": filter_statistics,
    "components": filter_components,
    "gaussians": gaussian_fits,
    "movement": movement,
    "relations": relations,
    "spectrum": lambda before, _, **selection: gram_spectra(before, **selection),  # of the base of refocusing
    "smoothness": kernel_smoothness,
    "norms": spectral_norms,
    "ranges": weight_ranges,
    "kernels": kernels,
}
"""Each takes two plain models, the earlier first, with ``include`` and ``exclude``, and returns a record."""


@dataclass(frozen=True)
class EvalData:
    """Data to measure two classifiers on, and the settings that measures share, for both models together."""

    batches: Batches
    training: Batches  # of training samples, not augmented, for batch-norm statistics
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_samples: int | None = None  # None leaves each measure its own bound
    max_seconds: float | None = None
    progress: Progress | None = None
    order: Sequence[int] | None = None  # the place of each sample in the data; None if they come as they are there

    @property
    def settings(self) -> dict[str, Any]:
        """The bounds and the progress, as measures of two models take them."""
        bound = {} if self.max_samples is None else {"max_samples": self.max_samples}
        return {**bound, "max_seconds": self.max_seconds, "progress": self.progress}

    def settings_of_one(self, first: Record | None = None) -> dict[str, Any]:
        """Return the same for measures of one model, each of which gets half of the time.

        The second gets the record of the first: where time bounds its samples, the second takes as many.
        """
        settings, progress, second = self.settings, self.progress, first is not None
        if progress is not None:
            settings["progress"] = lambda done, total: progress(done + total * second, 2 * total)
        if self.max_seconds is None:
            return settings
        if first is None:
            return {**settings, "max_seconds": halved(self.max_seconds)}
        return {**settings, "max_seconds": None, "max_samples": getattr(first, "samples")}  # noqa: B009  # no entry of every Record

    def more(self, kind: str) -> dict[str, Any]:
        """Return what measures need besides the batches, by kind: plain, ``normalised`` or ``recalibrated`` ones."""
        if kind == "recalibrated":
            return {"calibration": self.training}
        return {"mean": self.mean, "std": self.std} if kind == "normalised" else {}


Found = Mapping[str, Record]  #: Records by the model they are about: "before" and "after", or "pair" for both
DataMeasure = Callable[[nn.Module, nn.Module, EvalData], Found]
"""Takes two plain classifiers, the earlier first, and data."""


def _of_the_pair(measure: Callable[..., Record], kind: str = "", *, rows: str | None = None) -> DataMeasure:
    """Return a measure of two models; its ``rows`` name samples by their places in the data, not in the batches."""

    def measured(before: nn.Module, after: nn.Module, data: EvalData) -> Found:
        found: Any = measure(before, after, data.batches, **data.more(kind), **data.settings)
        if rows is None or data.order is None:
            return {"pair": found}
        named = tuple(replace(row, place=data.order[row.place]) for row in getattr(found, rows))
        return {"pair": replace(found, **{rows: named})}

    return measured


def _of_each(measure: Callable[..., Record], kind: str = "") -> DataMeasure:
    def measured(before: nn.Module, after: nn.Module, data: EvalData) -> Found:
        first = measure(before, data.batches, **data.more(kind), **data.settings_of_one())
        second = measure(after, data.batches, **data.more(kind), **data.settings_of_one(first))
        return {"before": first, "after": second}

    return measured


def _of_both(measure: Callable[..., Sequence[Record]], kind: str = "") -> DataMeasure:
    """Return a measure that takes both models at once and returns a record of each."""

    def measured(before: nn.Module, after: nn.Module, data: EvalData) -> Found:
        first, second = measure((before, after), data.batches, **data.more(kind), **data.settings)
        return {"before": first, "after": second}

    return measured


DATA_MEASURES: dict[str, DataMeasure] = {
    "agreement": _of_the_pair(agreement, rows="changed"),
    "calibration": _of_each(calibration),
    "attention": _of_the_pair(attention, "normalised", rows="shown"),
    "probes": _of_the_pair(linear_probes, "recalibrated"),
    "neighbours": _of_the_pair(nearest_neighbours),
    "similarity": _of_the_pair(similarity),
    "fourier": _of_the_pair(feature_spectra),
    "receptive_field": _of_each(receptive_field),
    "interpolation": _of_the_pair(interpolation, "recalibrated"),
    "landscape": _of_the_pair(loss_line, "recalibrated"),
    "sharpness": _of_the_pair(sharpness, "recalibrated"),
    "corruptions": _of_both(corruptions_of, "normalised"),
    "shifts": _of_each(shift_consistency),
    "explanations": _of_the_pair(explanations),
    "surface": _of_the_pair(loss_surface, "recalibrated"),
    "curvature": _of_each(partial(curvature, units="filters")),
    "attacks": _of_each(adversarial_robustness, "normalised"),
}
"""In the order in which they are taken."""

SHARES: dict[str, float] = {
    "agreement": 85,  # the headline needs the whole split; what is asked here is known to the four that follow it
    "calibration": 6,
    "attention": 2,
    "probes": 4,
    "neighbours": 4,
    "similarity": 3,
    "fourier": 2,
    "receptive_field": 4,
    "interpolation": 10,
    "landscape": 30,
    "sharpness": 28,
    "corruptions": 14,
    "shifts": 8,
    "explanations": 2,
    "surface": 2,
    "curvature": 2,
    "attacks": 4,
}
"""What each gets of the time of all of them: the weights of :class:`refconv.analysis.timing.Budget`.

Chosen so that on a ResNet-20 at 32 px those before ``explanations`` reach the samples from which on they are judged;
the last four need minutes for that, and take the fewest.
"""

OF_IMAGES = ("attention", "explanations", "corruptions", "shifts")  # these need samples [channels, height, width]
RECALIBRATED = ("probes", "interpolation", "landscape", "surface", "sharpness")  # these need training samples, too
