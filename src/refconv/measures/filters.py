"""Filter quality: sparsity, variety and orthogonality, and which layers are degenerate; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10

from refconv.measures.findings import Change
from refconv.measures.layers import Quantity, contrast_said, course_said
from refconv.measures.numbers import be, count, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, change, changed, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class FilterQuality(Record):
    """What one layer's filters are like.

    Attributes:
        sparsity: share of slices that are zero to one percent of the layer's largest entry, 0 to 1.
        variance_entropy: H of the slices' explained variance ratios, 0 to log10 k; None if all slices are equal.
        orthogonality: 1 - mean absolute cosine between (sampled) filters, 0 to 1; None for fewer than two.
        degenerate: ``sparse`` (more than half of the slices), ``narrow`` (H under half of log10 k), ``random`` (H at
            the random threshold or above) or None.
    """

    sparsity: float
    variance_entropy: float | None
    orthogonality: float | None
    degenerate: str | None


@dataclass(frozen=True)
class LayerQuality(LayerRecord):
    """One layer's filters in two models: n ``slices`` of k ``taps``.

    Attributes:
        random_threshold: entropy from which the layer counts as random; None for n <= k.
    """

    slices: int
    taps: int
    random_threshold: float | None
    before: FilterQuality
    after: FilterQuality


@dataclass(frozen=True)
class FilterStatistics(Record):
    """Filter quality of two models; pairs are before and after.

    Attributes:
        layers: a row per layer.
        sparsity: share of all slices that are sparse.
        variance_entropy: mean over layers of H / log10 k, 0 to 1.
        orthogonality: mean over layers.
        degenerate_layers: share of layers that are degenerate.
        degenerate_slices: share of slices that are sparse or in a degenerate layer.
    """

    layers: tuple[LayerQuality, ...]
    sparsity: tuple[float, float]
    variance_entropy: tuple[float | None, float | None]
    orthogonality: tuple[float | None, float | None]
    degenerate_layers: tuple[float, float]
    degenerate_slices: tuple[float, float]

    def __str__(self) -> str:
        columns = {
            "layer": "layer",
            "kind": "kind",
            "slices": "slices",
            "sparsity": changed("sparsity"),
            "variance entropy": changed("variance_entropy"),
            "random from": "random_threshold",
            "orthogonality": changed("orthogonality"),
            "degenerate": lambda row: f"{row.before.degenerate or 'no'} -> {row.after.degenerate or 'no'}",
        }
        (first, last), (sparse, sparser) = self.degenerate_layers, self.sparsity
        summary = f"degenerate layers {first:.0%} -> {last:.0%}; sparse slices {sparse:.2%} -> {sparser:.2%}; "
        means = f"orthogonality {change(*self.orthogonality)}, entropy of its largest {change(*self.variance_entropy)}"
        return f"{table_of(self.layers, columns)}\n{summary}means over layers: {means}"


ENTROPY = Quantity("variance entropy", "variance_entropy", over=lambda row: log10(row.taps))
ORTHOGONALITY = Quantity("orthogonality", "orthogonality")

_NAMED = 5
"""Layers that a sentence names at most."""


def _findings(item: Measured) -> Iterator[Said]:
    yield _degenerate(item)
    first, last = item.record.sparsity
    shown = [percent(share, 2) for share in (first, last)]
    if shown[0] == shown[1]:
        yield f"{shown[0]} of all slices are sparse, before and after.", "same"
    else:
        text = f"{shown[0]} of all slices are sparse before, {shown[1]} after."
        yield text, "better" if last < first else "worse"
    yield from (course_said(item, one) for one in (ENTROPY, ORTHOGONALITY))


def _degenerate(item: Measured) -> Said:
    rows = item.record.layers
    bad = [{row.layer for row in rows if getattr(row, side).degenerate} for side in ("before", "after")]
    before, after = map(len, bad)
    if bad[0] == bad[1]:
        return _still(before, len(rows)), "same"
    moves = [("became degenerate", bad[1] - bad[0]), ("recovered", bad[0] - bad[1])]
    said = "; ".join(f"{named([row.layer for row in rows if row.layer in of])} {what}" for what, of in moves if of)
    change: Change = "better" if after < before else "worse" if after > before else "different"
    return f"{before} of {count(len(rows), 'layer')} {be(before)} degenerate before, {after} after: {said}.", change


def _still(bad: int, layers: int) -> str:
    """Say that the degenerate layers are the same in both models."""
    if layers == 1:
        return f"The only layer is {'' if bad else 'not '}degenerate, before {'and' if bad else 'or'} after."
    if not bad:
        return f"None of {layers} layers is degenerate, before or after."
    ones = "one" if bad == 1 else "ones"
    return f"{bad} of {layers} layers {be(bad)} degenerate before and after, the same {ones}."


def named(layers: Sequence[str]) -> str:
    """Return the names of layers as an enumeration, the first few if there are many."""
    more = len(layers) - _NAMED
    if more > 0:
        return f"{', '.join(layers[:_NAMED])} and {more} more"
    return layers[0] if len(layers) == 1 else f"{', '.join(layers[:-1])} and {layers[-1]}"


FILTERS = Verdict(
    "filters",
    _findings,
    lambda subject, reference: (contrast_said(subject, reference, one) for one in (ENTROPY, ORTHOGONALITY)),
)
