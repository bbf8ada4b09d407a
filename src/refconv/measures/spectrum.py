"""The Gram's spectrum, layer by layer: how many patterns refocusing learns, and how unevenly; record and verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, part, short, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class LayerSpectrum(LayerRecord):
    """Eigenvalues of the Grams of one layer's blocks; blocks of zeros are left out.

    Attributes:
        kernel_size: taps per dimension, product k.
        blocks: blocks of the layer.
        sampled: how many of them were looked at.
        eigenvalues: over their mean, descending, the mean over blocks of each [k]; they sum to k.
        mean_eigenvalue: trace(G) / k, the mean over blocks: the factor that refocusing puts on the learning rate.
        rank: eigenvalues that are not zero to rounding, 1 to min(k, m t); the median over blocks.
        condition: largest over smallest eigenvalue that is not zero, 1 or more; the median over blocks.
        effective_rank: exp(H), H the entropy of the eigenvalues as shares, 1 to k; the median over blocks.
    """

    kernel_size: tuple[int, ...]
    blocks: int
    sampled: int
    eigenvalues: tuple[float, ...]
    mean_eigenvalue: float
    rank: float | None
    condition: float | None
    effective_rank: float | None


@dataclass(frozen=True)
class GramSpectra(Record):
    """Spectra of a model's Grams.

    Attributes:
        layers: a row per layer.
        effective_share: mean over layers of the effective rank over k, 0 to 1: 1 is plain training's even spectrum.
        condition: median over layers of the condition number.
        map_size: of the refocusing map, as asked for.
        order: how slices are gathered into blocks.
        seed: of the samples of blocks.
    """

    layers: tuple[LayerSpectrum, ...]
    effective_share: float | None
    condition: float | None
    map_size: tuple[int, ...]
    order: str
    seed: int

    def __str__(self) -> str:
        columns = {
            "layer": "layer",
            "kind": "kind",
            "kernel": "kernel_size",
            "blocks": part("sampled", "blocks"),
            "mean eigenvalue": "mean_eigenvalue",
            "rank": "rank",
            "condition": "condition",
            "effective rank": "effective_rank",
        }
        share, condition = short(self.effective_share), short(self.condition)
        text = f"effective rank over taps {share} in the mean, condition {condition} in the median over layers"
        return f"{table_of(self.layers, columns)}\n{text}"


def _findings(item: Measured) -> Iterator[Said]:
    record = item.record
    if record.condition is None or record.effective_share is None:
        yield "The kernels of the start are all zero: refocusing cannot move them.", "same"
        return
    where, mean = ("its only layer", "") if len(record.layers) == 1 else ("the median layer", " in the mean")
    text = (
        f"A property of the start, the same before and after: in {where} the fastest pattern learns "
        f"{number(record.condition)} times as fast as the slowest when refocused, and the effective rank is "
        f"{percent(record.effective_share)} of the taps{mean}."
    )
    yield text, "same"


SPECTRUM = Verdict("spectrum", _findings)
