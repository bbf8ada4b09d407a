"""The measures by the names of their files, for whoever runs them all: of weights alone, and with data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from refconv.analysis.agreement import agreement
from refconv.analysis.batches import Batches, Progress
from refconv.analysis.calibration import calibration
from refconv.analysis.components import filter_components
from refconv.analysis.curvature import curvature
from refconv.analysis.filters import filter_statistics
from refconv.analysis.gaussians import gaussian_fits
from refconv.analysis.interpolation import interpolation
from refconv.analysis.kernels import kernels
from refconv.analysis.landscape import loss_line, loss_surface
from refconv.analysis.movement import movement
from refconv.analysis.receptive_field import receptive_field
from refconv.analysis.redundancy import redundancy
from refconv.analysis.relations import relations
from refconv.analysis.robustness import adversarial_robustness, corruption_robustness, shift_consistency
from refconv.analysis.sharpness import sharpness
from refconv.analysis.similarity import similarity
from refconv.analysis.skeleton import skeletons
from refconv.analysis.spectrum import gram_spectra
from refconv.records import Record


def _spectra_of_the_base(before: nn.Module, after: nn.Module, **selection: Any) -> Record:
    """Return the spectra of the first model's Grams: the geometry in which it was refocused, if it was."""
    del after
    return gram_spectra(before, **selection)


WEIGHT_MEASURES: dict[str, Callable[..., Record]] = {
    "redundancy": redundancy,
    "skeleton": skeletons,
    "filters": filter_statistics,
    "components": filter_components,
    "gaussians": gaussian_fits,
    "movement": movement,
    "relations": relations,
    "spectrum": _spectra_of_the_base,
    "kernels": kernels,
}
"""Each takes two plain models, the earlier first, with ``include`` and ``exclude``, and returns a record."""


@dataclass(frozen=True)
class Evidence:
    """Data to measure two classifiers on.

    Attributes:
        batches: (samples, classes) that can be gone through again, normalised, on the models' device.
        training: batches of training samples, not augmented, for batch-norm statistics.
        mean: per channel, of the normalisation.
        std: per channel.
        max_samples: samples that a measure takes at most; None leaves each its own bound.
        progress: called with what is done and what there is in all.
    """

    batches: Batches
    training: Batches
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_samples: int | None = None
    progress: Progress | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The bound and the progress, as measures take them."""
        bound = {} if self.max_samples is None else {"max_samples": self.max_samples}
        return {**bound, "progress": self.progress}


Found = Mapping[str, Record]
"""Records by the model they are about: "before" and "after", or "pair" for both."""


def _of_the_pair(measure: Callable[..., Record]) -> Callable[[nn.Module, nn.Module, Evidence], Found]:
    def measured(before: nn.Module, after: nn.Module, data: Evidence) -> Found:
        return {"pair": measure(before, after, data.batches, **data.settings)}

    return measured


def _recalibrated(measure: Callable[..., Record]) -> Callable[[nn.Module, nn.Module, Evidence], Found]:
    def measured(before: nn.Module, after: nn.Module, data: Evidence) -> Found:
        return {"pair": measure(before, after, data.batches, calibration=data.training, **data.settings)}

    return measured


def _of_each(
    measure: Callable[..., Record], *, normalised: bool = False
) -> Callable[[nn.Module, nn.Module, Evidence], Found]:
    def measured(before: nn.Module, after: nn.Module, data: Evidence) -> Found:
        more = {"mean": data.mean, "std": data.std} if normalised else {}
        sides = {"before": before, "after": after}
        return {side: measure(model, data.batches, **more, **data.settings) for side, model in sides.items()}

    return measured


DATA_MEASURES: dict[str, Callable[[nn.Module, nn.Module, Evidence], Found]] = {
    "agreement": _of_the_pair(agreement),
    "calibration": _of_each(calibration),
    "similarity": _of_the_pair(similarity),
    "receptive_field": _of_each(receptive_field),
    "interpolation": _recalibrated(interpolation),
    "landscape": _recalibrated(loss_line),
    "surface": _recalibrated(loss_surface),
    "sharpness": _recalibrated(sharpness),
    "curvature": _of_each(partial(curvature, units="filters")),
    "attacks": _of_each(adversarial_robustness, normalised=True),
    "corruptions": _of_each(corruption_robustness, normalised=True),
    "shifts": _of_each(shift_consistency),
}
"""Each takes two plain classifiers, the earlier first, and data."""

OF_IMAGES = ("corruptions", "shifts")
"""Measures that need samples [channels, height, width]."""
