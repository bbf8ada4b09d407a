"""Which depthwise kernels a difference of Gaussians fits, or one of its derivatives; the record and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.direction import as_change, tally
from refconv.measures.layers import Quantity, contrast_said, course_of, course_said
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import Column, change, changed, part, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record

FAMILIES = ("dog", "first", "second")


@dataclass(frozen=True)
class GaussianShares(Record):
    """How well the functions fit the kernels of one layer.

    Attributes:
        fitting: share of kernels that fit, 0 to 1; kernels of zeros do not.
        families: share of kernels whose best fit is of each family and good enough; they sum to ``fitting``.
        residual: median over kernels of the least relative square residual, 0 to 1.
    """

    fitting: float
    families: dict[str, float]
    residual: float


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
    """Depthwise kernels of two models that differences of Gaussians or their derivatives fit; pairs are before, after.

    Attributes:
        layers: a row per depthwise layer of at least 5 x 5.
        fitting: share of all their kernels, layers weighted by their number of kernels; None if there is no such layer.
        families: the same for each family.
        chance: share of kernels of white noise that fit, by kernel size such as ``5 x 5``.
        left_out: other depthwise layers, and why.
        tolerance: relative square residual up to which a kernel fits.
        seed: of the samples and the noise.
    """

    layers: tuple[LayerGaussians, ...]
    fitting: tuple[float, float] | None
    families: dict[str, tuple[float, float]]
    chance: dict[str, float]
    left_out: dict[str, str]
    tolerance: float
    seed: int

    def __str__(self) -> str:
        parts = ["no depthwise kernels of at least 5 x 5"]
        if self.fitting is not None:
            columns: dict[str, Column] = {
                "layer": "layer",
                "kernel": "kernel_size",
                "kernels": part("sampled", "slices"),
            }
            columns |= {"fitting": changed("fitting"), **{name: _family(name) for name in FAMILIES}}
            of_all = ("all", "", "", change(*self.fitting), *(change(*self.families[n]) for n in FAMILIES), "")
            chance = ", ".join(f"{share:.1%} of {size}" for size, share in self.chance.items())
            table = table_of(self.layers, {**columns, "residual": changed("residual")}, of_all)
            parts = [table, f"tolerance {self.tolerance:g}; of white noise fit {chance}"]
        reasons = sorted(Counter(self.left_out.values()).items())
        return "\n".join([*parts, *(f"{count} left out: {reason}" for reason, count in reasons)])


def _family(name: str) -> Column:
    return lambda row: change(row.before.families[name], row.after.families[name])


FITTING = Quantity("share of kernels that fit", "fitting", show=percent)
RESIDUAL = Quantity("median residual", "residual")


def _findings(item: Measured) -> Iterator[Said]:
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


GAUSSIANS = Verdict(
    "gaussians",
    _findings,
    lambda subject, reference: (contrast_said(subject, reference, FITTING),),
    has=lambda item: bool(item.record.layers),
)
