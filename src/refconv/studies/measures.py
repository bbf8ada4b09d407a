"""What a study compares: the names under which run records keep results, and how each is shown.

The one place that knows what a task measures. A task other than classification adds its measures here; everything
else takes those that the records of the runs hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Measure:
    """A number that a run record holds about the test split.

    Attributes:
        name: the record's field.
        title: how tables call it.
        unit: of differences, for tables; with a space before it, or empty.
        factor: what a value is multiplied by to be shown.
        digits: decimals shown.
        larger_is_better: whether more is better.
        resolve: the difference, as recorded, that the power note is about; None where no size is customary.
        validated: whether evaluations on the validation split hold it too, so that settings can be chosen by it.
        note: how it is measured, where that needs saying and the records do not say it themselves.
        counts: whether it is a share of the test samples, so that one sample is its smallest step.
    """

    name: str
    title: str
    unit: str
    factor: float
    digits: int
    larger_is_better: bool
    resolve: float | None = None
    validated: bool = True
    note: str = ""
    counts: bool = False

    def resolution(self, samples: int | None) -> float | None:
        """Return the smallest step between two values on so many test samples; None where it is not known.

        Measures that are no share of the samples (mAP, IoU, PSNR, losses, calibration errors) have steps that depend
        on the predictions, so that none is known.

        Args:
            samples: of the test split; None if that is not known.

        Example:
            >>> MEASURES["top1"].resolution(500), MEASURES["psnr"].resolution(500)
            (0.002, None)
        """
        return 1 / samples if self.counts and samples else None

    def shown(self, value: float, *, signed: bool = False) -> str:
        """Return a value as tables show it.

        A zero keeps its sign: an end of an interval at -0.00 lies below zero, if not by much.

        Example:
            >>> MEASURES["top1"].shown(0.9123), MEASURES["top1"].shown(-0.0012, signed=True)
            ('91.23', '-0.12')
        """
        return f"{self.factor * value:{'+' if signed else ''}.{self.digits}f}"

    def limit(self) -> str:
        """Return the difference of the power note in words."""
        return f"{self.factor * (self.resolve or 0):g}{self.unit}"


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("top1", "top-1, %", " points", 100, 2, True, resolve=0.001, counts=True),
        Measure("miou", "mean IoU, %", " points", 100, 2, True, resolve=0.005),
        Measure("map", "mAP, %", " points", 100, 2, True, resolve=0.005, note="of boxes, overlaps from 0.5 to 0.95"),
        Measure("psnr", "PSNR, dB", " dB", 1, 2, True, resolve=0.05, note="luma of 8-bit images, mean over images"),
        Measure("loss", "loss", "", 1, 4, False),
        Measure("psnr_rgb", "PSNR of RGB, dB", " dB", 1, 2, True),
        Measure("psnr_luma", "PSNR of luma, dB", " dB", 1, 2, True),
        Measure("ssim", "SSIM", "", 1, 4, True, note="luma of 8-bit images, mean over images"),
        Measure("ssim_rgb", "SSIM of RGB", "", 1, 4, True, note="mean over the channels"),
        Measure("ssim_luma", "SSIM of luma", "", 1, 4, True),
        Measure("pixel_accuracy", "pixel accuracy, %", " points", 100, 2, True),
        Measure("mean_accuracy", "mean accuracy, %", " points", 100, 2, True, note="mean over classes"),
        Measure("map50", "mAP50, %", " points", 100, 2, True, note="of boxes, at an overlap of 0.5"),
        Measure("map75", "mAP75, %", " points", 100, 2, True, note="of boxes, at an overlap of 0.75"),
        Measure("voc_ap50", "VOC AP50, %", " points", 100, 2, True, note="VOC's since 2010: area under the curve"),
        Measure("mask_map", "mask mAP, %", " points", 100, 2, True, note="as mAP, of masks"),
        Measure("recall", "recall, %", " points", 100, 2, True, note="of the 100 surest boxes of an image"),
        Measure(
            "ece", "calibration error, %", " points", 100, 2, False, validated=False, note="15 bins of equal width"
        ),
    )
}
"""All measures by name, the primary one of each task first."""


class Measured(Protocol):
    """A record that holds measures."""

    def measure(self, name: str) -> float | None:
        """Return a measure by name; None if it was not taken."""


def value_of(record: Measured, measure: Measure) -> float:
    """Return a measure that a record is known to hold."""
    value = record.measure(measure.name)
    assert value is not None, measure.name
    return float(value)


def measured(records: Iterable[Measured]) -> tuple[Measure, ...]:
    """Return the measures that every one of some records holds, in the order of :data:`MEASURES`."""
    records = list(records)
    return tuple(
        measure
        for name, measure in MEASURES.items()
        if records and all(record.measure(name) is not None for record in records)
    )
