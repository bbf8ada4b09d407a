"""Kernels and feature maps by frequency: smoothness, norms as operators, amplitudes; the records and their verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.layers import Quantity, contrasts_of, course_said
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, Sampled, change, changed, counted, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class KernelSmoothness(Record):
    """How smooth one layer's slices are; None for a kernel of zeros."""

    variation: float | None  #: differences of neighbouring taps over the sum of all magnitudes; 0 for constant slices
    high: float | None  #: share of the energy above a quarter of a cycle a tap in any dimension, 0 to 1


@dataclass(frozen=True)
class LayerSmoothness(LayerRecord):
    """One layer in two models; ``noise`` is the share of high frequencies of white noise on its taps."""

    kernel_size: tuple[int, ...]
    noise: float
    before: KernelSmoothness
    after: KernelSmoothness


@dataclass(frozen=True)
class Smoothness(Record):
    """Smoothness of the kernels of two models."""

    layers: tuple[LayerSmoothness, ...]

    def __str__(self) -> str:
        columns = changed("variation", "total variation"), changed("high", "high frequencies"), ("noise", "noise")
        return table_of(self.layers, "layer", "kind", ("kernel", "kernel_size"), *columns)


VARIATION = Quantity("total variation", "variation")
HIGH = Quantity("share of high frequencies", "high", show=percent)


def _smoothness_findings(item: Measured) -> Iterator[Said]:
    yield from (course_said(item, one) for one in (VARIATION, HIGH))


SMOOTHNESS = Verdict("smoothness", _smoothness_findings, contrasts_of(VARIATION, HIGH))


@dataclass(frozen=True)
class OperatorNorm(Record):
    """How much one convolution enlarges its input at most."""

    norm: float  #: spectral norm of the convolution with circular padding on the record's ``size``
    bound: float  #: what its norm is at most, on any size, with any zero padding, stride and dilation


@dataclass(frozen=True)
class LayerNorms(LayerRecord):
    """One layer in two models."""

    before: OperatorNorm
    after: OperatorNorm


@dataclass(frozen=True)
class SpectralNorms(Record):
    """Spectral norms of the convolutions of two models."""

    layers: tuple[LayerNorms, ...]
    size: int  #: positions per dimension, or the taps of the kernel where these are more

    def __str__(self) -> str:
        table = table_of(self.layers, "layer", "kind", changed("norm", "spectral norm"), changed("bound", "at most"))
        return f"{table}\nnorms with circular padding on {self.size} positions per dimension"


NORM = Quantity("spectral norm", "norm")
BOUND = Quantity("Lipschitz bound", "bound")


def _norms_findings(item: Measured) -> Iterator[Said]:
    yield from (course_said(item, one) for one in (NORM, BOUND))


NORMS = Verdict("norms", _norms_findings, contrasts_of(NORM, BOUND))


@dataclass(frozen=True)
class LayerAmplitudes(LayerRecord):
    """Amplitudes of one layer's maps in two models, from the constant part to the highest frequency.

    Each number is the natural logarithm of the mean amplitude at a frequency less that of the constant part; None where
    one of them is zero.
    """

    map_shape: tuple[int, ...]
    before: tuple[float | None, ...]
    after: tuple[float | None, ...]


@dataclass(frozen=True)
class FeatureSpectra(Sampled):
    """Amplitudes of the feature maps of two models by frequency."""

    layers: tuple[LayerAmplitudes, ...]  #: convolutions whose map has four positions or more in some dimension
    left_out: dict[str, str]  #: other convolutions, and why

    def __str__(self) -> str:
        highest = ("highest frequency", lambda row: change(row.before[-1], row.after[-1]))
        table = table_of(self.layers, "layer", ("map", "map_shape"), highest)
        return f"{table}\nlogarithms of amplitudes less that of the constant part, over {counted(self)}"


HIGHEST = Quantity("log amplitude of the highest frequency", lambda curve: curve[-1])


def _fourier_findings(item: Measured) -> Iterator[Said]:
    yield course_said(item, HIGHEST)


FOURIER = Verdict("fourier", _fourier_findings, contrasts_of(HIGHEST), has=lambda item: bool(item.record.layers))
