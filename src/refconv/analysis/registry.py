"""The measures of weights by the names of their files, for whoever runs them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from refconv.analysis.components import filter_components
from refconv.analysis.filters import filter_statistics
from refconv.analysis.gaussians import gaussian_fits
from refconv.analysis.movement import movement
from refconv.analysis.redundancy import redundancy
from refconv.analysis.relations import relations
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
}
"""Each takes two plain models, the earlier first, with ``include`` and ``exclude``, and returns a record."""
