"""Robustness: how accuracy falls under attacks and corruptions, and how often a class survives a shift.

The records; what they are computed from is in ``analysis/robustness.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.tables import text_table
from refconv.records import Record


@dataclass(frozen=True)
class Curve(Record):
    """Accuracy against the strength of one perturbation.

    Attributes:
        kind: the perturbation.
        strengths: radii as shares of the range of pixels, or 0 to 5 for corruptions; ascending, 0 (nothing) first.
        accuracy: share of samples classified rightly at each, 0 to 1.
        mean: mean accuracy over the strengths above 0.
    """

    kind: str
    strengths: tuple[float, ...]
    accuracy: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class AdversarialRobustness(Record):
    """Accuracy of a classifier under attacks that know it.

    Attributes:
        samples: how many were attacked.
        cut: whether there were more that ``max_samples`` left out.
        steps: of PGD.
        curves: ``fgsm`` and ``pgd``.
    """

    samples: int
    cut: bool
    steps: int
    curves: tuple[Curve, ...]

    def __str__(self) -> str:
        text = _curves_table(self.curves, [f"{255 * radius:.3g} / 255" for radius in self.curves[0].strengths])
        return f"{text}\n{_counted(self.samples, self.cut)}, {self.steps} steps of PGD"


@dataclass(frozen=True)
class CorruptionRobustness(Record):
    """Accuracy of a classifier under common corruptions.

    Attributes:
        samples: how many were corrupted.
        cut: whether there were more that ``max_samples`` left out.
        table: whose strengths these are, ``ImageNet-C`` or ``CIFAR-10-C``.
        curves: a row per corruption.
        mean: mean accuracy over corruptions and strengths above 0.
        left_out: corruptions that these images do not take, and why.
    """

    samples: int
    cut: bool
    table: str
    curves: tuple[Curve, ...]
    mean: float
    left_out: dict[str, str]

    def __str__(self) -> str:
        lines = [_curves_table(self.curves, [f"strength {strength:g}" for strength in self.curves[0].strengths])]
        lines += [f"{kind} left out: {reason}" for kind, reason in self.left_out.items()]
        lines.append(f"{_counted(self.samples, self.cut)}, strengths of {self.table}; mean {self.mean:.1%}")
        return "\n".join(lines)


@dataclass(frozen=True)
class ShiftConsistency(Record):
    """How often a classifier keeps its class under shifts, right or wrong.

    Attributes:
        samples: how many images were shifted.
        cut: whether there were more that ``max_samples`` left out.
        pixels: the distances, 1 to the largest.
        same: per distance, share of (image, direction) that keep the class, over the four directions, 0 to 1.
        stable: per distance, share of images that keep it under all shifts up to that distance, 0 to 1.
        accuracy: per distance, share of (image, direction) classified rightly.
        clean_accuracy: share of images classified rightly without a shift.
    """

    samples: int
    cut: bool
    pixels: tuple[int, ...]
    same: tuple[float, ...]
    stable: tuple[float, ...]
    accuracy: tuple[float, ...]
    clean_accuracy: float

    def __str__(self) -> str:
        rows = [
            (str(pixels), f"{same:.1%}", f"{stable:.1%}", f"{accuracy:.1%}")
            for pixels, same, stable, accuracy in zip(self.pixels, self.same, self.stable, self.accuracy, strict=True)
        ]
        rows.insert(0, ("0", "", "", f"{self.clean_accuracy:.1%}"))
        table = text_table(("pixels", "class stays", "under all so far", "accuracy"), rows)
        return f"{table}\n{_counted(self.samples, self.cut)}"


def _curves_table(curves: Sequence[Curve], columns: Sequence[str]) -> str:
    rows = [(curve.kind, *(f"{value:.1%}" for value in (*curve.accuracy, curve.mean))) for curve in curves]
    return text_table(("accuracy", *columns, "mean above 0"), rows)


def _counted(samples: int, cut: bool) -> str:
    return f"{samples:,} samples" + (" of more" if cut else "")
