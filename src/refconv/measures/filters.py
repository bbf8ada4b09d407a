"""Filters: their quality, and which depthwise kernels Gaussians fit; the records and their verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10

from refconv.measures.judging import Change
from refconv.measures.layers import Quantity, as_change, contrasts_of, course_of, course_said, tally
from refconv.measures.numbers import be, count, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import Column, LayerRecord, change, changed, sampled, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class FilterQuality(Record):
    """What one layer's filters are like."""

    sparsity: float  #: share of slices that are zero to one percent of the layer's largest entry, 0 to 1
    variance_entropy: float | None  #: H of the explained variance ratios, 0 to log10 k; None if all slices are equal
    orthogonality: float | None  #: 1 - mean absolute cosine between (sampled) filters, 0 to 1; None for fewer than two
    #: ``sparse`` (more than half of the slices), ``narrow`` (H under half of log10 k), ``random`` (H at the random
    #: threshold or above) or None
    degenerate: str | None
    zeros: float = 0.0  #: share of entries that are exactly zero, as of a pruned network, 0 to 1


@dataclass(frozen=True)
class LayerQuality(LayerRecord):
    """One layer's filters in two models: n ``slices`` of k ``taps``."""

    slices: int
    taps: int
    random_threshold: float | None  #: entropy from which the layer counts as random; None for n <= k
    before: FilterQuality
    after: FilterQuality


@dataclass(frozen=True)
class FilterStatistics(Record):
    """Filter quality of two models; pairs are before and after."""

    layers: tuple[LayerQuality, ...]
    sparsity: tuple[float, float]  #: share of all slices that are sparse
    variance_entropy: tuple[float | None, float | None]  #: mean over layers of H / log10 k, 0 to 1
    orthogonality: tuple[float | None, float | None]  #: mean over layers
    degenerate_layers: tuple[float, float]  #: share of layers that are degenerate
    degenerate_slices: tuple[float, float]  #: share of slices that are sparse or in a degenerate layer
    zeros: tuple[float, float] = (0.0, 0.0)  #: share of all entries that are exactly zero

    def __str__(self) -> str:
        table = table_of(
            self.layers,
            *("layer", "kind", "slices", changed("sparsity"), changed("variance_entropy")),
            *(("random from", "random_threshold"), changed("orthogonality")),
            ("degenerate", lambda row: f"{row.before.degenerate or 'no'} -> {row.after.degenerate or 'no'}"),
        )
        (first, last), (sparse, sparser) = self.degenerate_layers, self.sparsity
        summary = f"degenerate layers {first:.0%} -> {last:.0%}; sparse slices {sparse:.2%} -> {sparser:.2%}; "
        summary += f"zeros {self.zeros[0]:.2%} -> {self.zeros[1]:.2%}; " if any(self.zeros) else ""
        means = f"orthogonality {change(*self.orthogonality)}, entropy of its largest {change(*self.variance_entropy)}"
        return f"{table}\n{summary}means over layers: {means}"


ENTROPY = Quantity("variance entropy", "variance_entropy", over=lambda row: log10(row.taps))
ORTHOGONALITY = Quantity("orthogonality", "orthogonality")
_NAMED = 5  #: Layers that a sentence names at most


def _filters_findings(item: Measured) -> Iterator[Said]:
    yield _degenerate(item)
    first, last = item.record.sparsity
    shown = [percent(share, 2) for share in (first, last)]
    if shown[0] == shown[1]:
        yield f"{shown[0]} of all slices are sparse, before and after.", "same"
    else:
        text = f"{shown[0]} of all slices are sparse before, {shown[1]} after."
        yield text, "better" if last < first else "worse"
    if any(item.record.zeros):
        first, last = (percent(share, 2) for share in item.record.zeros)
        same = first == last
        text = f"{first} of all entries are zero, before and after."
        if not same:
            text = f"{first} of all entries are zero before, {last} after."
        yield text, "same" if same else "different"
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


FILTERS = Verdict("filters", _filters_findings, contrasts_of(ENTROPY, ORTHOGONALITY))


FAMILIES = ("dog", "first", "second")


@dataclass(frozen=True)
class GaussianShares(Record):
    """How well the functions fit the kernels of one layer."""

    fitting: float  #: share of kernels that fit, 0 to 1; kernels of zeros do not
    families: dict[str, float]  #: share of kernels that fit, by the family of the best fit
    residual: float  #: median over kernels of the least relative square residual, 0 to 1


@dataclass(frozen=True)
class LayerGaussians(Record):
    """One depthwise layer in two models; ``sampled`` of its kernels were fitted, the same ones in both models."""

    layer: str
    kernel_size: tuple[int, ...]
    slices: int
    sampled: int
    before: GaussianShares
    after: GaussianShares


@dataclass(frozen=True)
class GaussianFits(Record):
    """Depthwise kernels of two models that Gaussians fit, their differences or derivatives; pairs are before, after."""

    layers: tuple[LayerGaussians, ...]  #: a row per depthwise layer of at least 5 x 5
    fitting: tuple[float, float] | None  #: share of all their kernels that fit; None if there is no such layer
    families: dict[str, tuple[float, float]]  #: the same for each family
    chance: dict[str, float]  #: share of kernels of white noise that fit, by kernel size such as ``5 x 5``
    left_out: dict[str, str]  #: other depthwise layers, and why
    tolerance: float  #: relative square residual up to which a kernel fits
    seed: int  #: of the samples and the noise

    def __str__(self) -> str:
        parts = ["no depthwise kernels of at least 5 x 5"]
        if self.fitting is not None:
            columns = ("layer", ("kernel", "kernel_size"), sampled("slices", "kernels"), changed("fitting"))
            of_all = ("all", "", "", change(*self.fitting), *(change(*self.families[n]) for n in FAMILIES), "")
            chance = ", ".join(f"{share:.1%} of {size}" for size, share in self.chance.items())
            families = map(_family, FAMILIES)
            table = table_of(self.layers, *columns, *families, changed("residual"), below=[of_all])
            parts = [table, f"tolerance {self.tolerance:g}; of white noise fit {chance}"]
        reasons = sorted(Counter(self.left_out.values()).items())
        return "\n".join([*parts, *(f"{count} left out: {reason}" for reason, count in reasons)])


def _family(name: str) -> Column:
    return name, lambda row: change(row.before.families[name], row.after.families[name])


FITTING = Quantity("share of kernels that fit", "fitting", show=percent)
RESIDUAL = Quantity("median residual", "residual")


def _gaussians_findings(item: Measured) -> Iterator[Said]:
    first, last = item.record.fitting
    kernels = sum(row.slices for row in item.record.layers)
    chance = ", ".join(f"{percent(share)} of {times_text(size)}" for size, share in item.record.chance.items())
    found = course_of(item, FITTING)
    text = (
        f"Of {count(kernels, 'depthwise kernel')} of 5 × 5 taps or more {percent(first)} fit before and "
        f"{percent(last)} after ({tally(found)}); of white noise {chance} would."
    )
    yield text, as_change(found.way), found.p
    yield course_said(item, RESIDUAL)


def times_text(text: str) -> str:
    """Return a kernel size as people write it."""
    return text.replace(" x ", " × ")


GAUSSIANS = Verdict("gaussians", _gaussians_findings, contrasts_of(FITTING), has=lambda item: bool(item.record.layers))
