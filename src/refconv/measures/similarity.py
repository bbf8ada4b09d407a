"""Similarity of representations: linear CKA between the layers of two models; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.numbers import compared, count, number
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, short, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class LayerSimilarity(Record):
    """Linear CKA of one layer's features in two models.

    Attributes:
        layer: the module's name.
        cka: -1 to 1, 1 for features equal up to rotation and scale; None if they are constant in one of the models.
    """

    layer: str
    cka: float | None


@dataclass(frozen=True)
class Similarity(Sampled):
    """Linear CKA between two models.

    Attributes:
        layers: a row per layer, in the order of the first model's modules.
        mean: mean over layers where it is defined.
        matrix_layers: names of the layers in ``matrix``, evenly spread if there are many.
        matrix: CKA of the first model's layers (rows) with the second's (columns).
        left_out: layers that were not compared, and why.
    """

    layers: tuple[LayerSimilarity, ...]
    mean: float | None
    matrix_layers: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]
    left_out: dict[str, str]

    def __str__(self) -> str:
        lines = [table_of(self.layers, {"layer": "layer", "CKA": "cka"})]
        lines += [f"{layer} left out: {reason}" for layer, reason in self.left_out.items()]
        return "\n".join([*lines, f"mean {short(self.mean)} over {counted(self)}"])


ALIKE = 0.98
"""CKA from which on features count as the same."""

CLOSE = 0.005
"""Difference of mean CKA up to which two pairs count as the same; the record has no error."""


def _known(item: Measured) -> dict[str, float]:
    return {row.layer: row.cka for row in item.record.layers if row.cka is not None}


def _findings(item: Measured) -> Iterator[Said]:
    known = _known(item)
    if not known:
        yield "CKA is defined in no layer: the features do not vary between the samples.", "unclear"
        return
    least = min(known, key=lambda layer: known[layer])
    text = f"The features of {least}, the only layer compared, agree with a CKA of {number(known[least])}."
    if len(known) > 1:
        text = (
            f"The features of {count(len(known), 'layer')} agree with a mean CKA of {number(item.record.mean)}; "
            f"least alike are those of {least}, {number(known[least])}."
        )
    yield text, "same" if known[least] >= ALIKE else "different"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.record.mean, reference.record.mean
    if mine is None or theirs is None:
        yield f"{subject.name} and {reference.name} cannot be compared: one of them has no mean CKA.", "unclear"
        return
    others = _known(reference)
    both = [(cka, others[layer]) for layer, cka in _known(subject).items() if layer in others]
    farther = f"{sum(one < other for one, other in both)} of {count(len(both), 'layer')}"
    text = (
        f"With the start {subject.name} has a mean CKA of {compared(number, reference.name, mine, theirs)}; its "
        f"features are farther from the start in {farther}."
    )
    yield text, "same" if abs(mine - theirs) <= CLOSE else "different"


SIMILARITY = Verdict("similarity", _findings, _contrasts)
