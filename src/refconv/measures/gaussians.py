"""Which depthwise kernels a difference of Gaussians fits, or one of its first or second derivatives.

The records; what they are computed from is in ``analysis/gaussians.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import change, text_table, times
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
    """One depthwise layer in two models.

    Attributes:
        layer: the module's name.
        kernel_size: taps per dimension.
        slices: kernels of the layer.
        sampled: how many of them were fitted, the same ones in both models.
        before: of the first model.
        after: of the second.
    """

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
        parts = []
        if self.fitting is not None:
            header = ("layer", "kernel", "kernels", "fitting", *FAMILIES, "residual")
            rows = [
                (
                    row.layer,
                    times(row.kernel_size),
                    f"{row.sampled} of {row.slices}" if row.sampled < row.slices else str(row.slices),
                    change(row.before.fitting, row.after.fitting),
                    *(change(row.before.families[name], row.after.families[name]) for name in FAMILIES),
                    change(row.before.residual, row.after.residual),
                )
                for row in self.layers
            ]
            rows.append(("all", "", "", change(*self.fitting), *(change(*self.families[n]) for n in FAMILIES), ""))
            chance = ", ".join(f"{share:.1%} of {size}" for size, share in self.chance.items())
            parts = [text_table(header, rows), f"tolerance {self.tolerance:g}; of white noise fit {chance}"]
        else:
            parts.append("no depthwise kernels of at least 5 x 5")
        reasons = sorted(set(self.left_out.values()))
        counts = [(sum(reason == other for other in self.left_out.values()), reason) for reason in reasons]
        return "\n".join([*parts, *(f"{count} left out: {reason}" for count, reason in counts)])
