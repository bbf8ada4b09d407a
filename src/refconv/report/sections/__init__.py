"""The sections of the page: records of pairs in, words, numbers and pictures out.

Each is a :class:`~refconv.report.elements.Spec`: called with all pairs, it returns None if no pair has its record.
"""

from refconv.measures.verdicts import VERDICTS
from refconv.report.elements import Spec
from refconv.report.sections import (
    classifiers,
    embeddings,
    features,
    frequencies,
    kernels,
    layers,
    losses,
    refocusing,
    robustness,
)

_MODULES = (layers, kernels, refocusing, frequencies, classifiers, features, embeddings, losses, robustness)
SPECS: dict[str, Spec] = {spec.name: spec for module in _MODULES for spec in module.SECTIONS}
"""By the name of the measure."""

SECTIONS: tuple[Spec, ...] = tuple(SPECS[name] for name in VERDICTS)
"""In the order of the page: weights first, then what needs data."""
