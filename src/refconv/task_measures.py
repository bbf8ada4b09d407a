"""What each task measures: names, titles, units, directions; read everywhere, without torch.

Each task declares ``MEASURES`` in ``refconv/tasks/NAME/measures.py``. A new task is one folder in ``refconv/tasks`` and
its name in :data:`TASKS`.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import KW_ONLY, dataclass

from refconv.errors import SettingError

TASKS = (
    "classification", "detection", "segmentation", "restoration", "multilabel", "binary", "regression", "embedding",
)  # fmt: skip
"""The names of all tasks; the first one is the default."""


_LONG = 1e9  #: From here on numbers are shown with an exponent


@dataclass(frozen=True)
class Scale:
    """How values of a measure are shown; ``difference`` is the unit of differences, with a space before it."""

    factor: float
    digits: int
    unit: str
    difference: str


SHARE = Scale(100, 2, "%", " points")
DECIBEL = Scale(1, 2, "dB", " dB")
NUMBER = Scale(1, 4, "", "")


@dataclass(frozen=True)
class Measure:
    """A number that the evaluation of a task gives."""

    name: str  #: what evaluations and records call it; ``label``: what tables call it; ``long``: what text calls it
    label: str
    _: KW_ONLY
    long: str = ""
    scale: Scale = SHARE
    larger_is_better: bool = True
    compared: bool = True  #: whether studies compare it
    #: the smallest difference, as recorded, that is of interest; None where no size is customary
    resolve: float | None = None
    #: whether evaluations on the validation split hold it too, so that settings can be chosen by it
    validated: bool = True
    note: str = ""  #: how it is measured, where that needs saying and the records do not say it themselves
    counts: bool = False  #: whether it is a share of the samples, so that one sample is its smallest step

    @property
    def title(self) -> str:
        """Label and unit, for the heads of tables."""
        return f"{self.label}, {self.scale.unit}" if self.scale.unit else self.label

    @property
    def description(self) -> str:
        """What text calls it."""
        return self.long or self.label

    @property
    def unit(self) -> str:
        """Unit of differences, with a space before it; may be empty."""
        return self.scale.difference

    @property
    def factor(self) -> float:
        """What a value is multiplied by to be shown."""
        return self.scale.factor

    def resolution(self, samples: int | None) -> float | None:
        """Return the smallest step between two values on so many samples; None where it depends on the predictions."""
        return 1 / samples if self.counts and samples else None

    def shown(self, value: float, *, signed: bool = False) -> str:
        """Return a value as tables show it; a zero keeps its sign, as an end of an interval at -0.00 lies below zero.

        Example:
            >>> top1 = measures_of("classification").primary
            >>> top1.shown(0.9123), top1.shown(-0.0012, signed=True)
            ('91.23', '-0.12')
        """
        number, sign = self.factor * value, "+" if signed else ""
        return f"{number:{sign}.{self.scale.digits}f}" if abs(number) < _LONG else f"{number:{sign}.4g}"

    def said(self, value: float) -> str:
        """Return a value with its unit."""
        return self.shown(value) + {"": "", "%": "%"}.get(self.scale.unit, f" {self.scale.unit}")

    def limit(self) -> str:
        """Return the smallest difference of interest in words."""
        return f"{self.factor * (self.resolve or 0):g}{self.unit}"


@dataclass(frozen=True)
class TaskMeasures:
    """What one task measures, the primary measure first, and how text speaks of it.

    ``per_class`` is what the primary measure is called for one class, empty where there are no classes; ``samples`` is
    what the data consist of, in the singular; ``better`` and ``worse`` say how a model compares.
    """

    measures: tuple[Measure, ...]
    per_class: str = ""
    samples: str = "image"
    better: str = "better"
    worse: str = "worse"

    @property
    def primary(self) -> Measure:
        """The measure to look at first."""
        return self.measures[0]

    @property
    def descriptions(self) -> dict[str, str]:
        """What text calls each measure, by name."""
        return {measure.name: measure.description for measure in self.measures}

    @property
    def numbers(self) -> frozenset[str]:
        """The names of the measures that are no shares."""
        return frozenset(measure.name for measure in self.measures if measure.scale is not SHARE)


@functools.cache
def measures_of(task: str) -> TaskMeasures:
    """Return what a task measures.

    Raises:
        SettingError: if there is no such task.
    """
    if task not in TASKS:
        raise SettingError("unknown task", where="task", expected=", ".join(TASKS), found=repr(task))
    found: TaskMeasures = importlib.import_module(f"refconv.tasks.{task}.measures").MEASURES
    return found


def compared_measures() -> dict[str, Measure]:
    """Return the measures of all tasks that studies compare, by name, the primary one of each task first.

    A name that several tasks have, such as ``loss``, stands for the first task's.
    """
    ordered = [measures_of(task).measures for task in TASKS]
    found: dict[str, Measure] = {}
    for measure in (*(measures[0] for measures in ordered), *(one for measures in ordered for one in measures[1:])):
        if measure.compared:
            found.setdefault(measure.name, measure)
    return found
