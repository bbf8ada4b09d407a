"""The record of a study: what was compared and what came out, in the measures of all tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from refconv.records import Record
from refconv.studies.statistics import Interval
from refconv.task_measures import compared_measures

MEASURES = compared_measures()
"""All measures that studies compare, by name, the primary one of each task first."""


@dataclass(frozen=True)
class Tried(Record):
    """One combination of settings that was tried, with a validation score per selection seed; None: it diverged."""

    point: dict[str, Any]
    scores: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """The mean over the seeds; None if a run diverged."""
        scores = [score for score in self.scores if score is not None]
        return math.fsum(scores) / len(scores) if scores and len(scores) == len(self.scores) else None


@dataclass(frozen=True)
class Gain(Record):
    """What the final runs of a cell made of the network that each started from, on the same samples of one split."""

    measure: str  # the task's first
    split: str  # val, or without one train: the test split is read once
    samples: int
    starts: tuple[float, ...]  # per seed, before the first step
    ends: tuple[float, ...]  # per seed, of the result

    @property
    def differences(self) -> tuple[float, ...]:
        """The result minus the start, seed by seed."""
        return tuple(end - start for start, end in zip(self.starts, self.ends, strict=True))


@dataclass(frozen=True)
class CellResult(Record):
    """One method on one architecture."""

    architecture: str
    method: str
    point: dict[str, Any]  # the settings that were chosen on the validation split
    edges: tuple[str, ...]  # those among them that stand at the edge of their grid
    tried: tuple[Tried, ...]
    values: dict[str, tuple[float, ...]]  # per measure, one value per seed, on the test split
    intervals: dict[str, Interval]  # per measure, mean and t interval over the seeds
    parameters_trained: int
    parameters_shipped: int
    samples_seen: int  # training samples of one final run
    step_ms: float  # median
    step_ratio: float  # to the reference method: median of paired steps taken in turn
    peak_memory_mb: float | None  # the most of an accelerator's memory in any final run; None on a CPU
    test_samples: int | None = None  # None in records that did not note it
    gain: Gain | None = None  # None in records of earlier versions


@dataclass(frozen=True)
class Contrast(Record):
    """A method minus the reference method, seed by seed, on one architecture and in one measure."""

    architecture: str
    method: str
    measure: str
    differences: tuple[float, ...]
    interval: Interval  # Student's t, no finer than the test split resolves
    bootstrap: Interval
    spread: float | None  # standard deviation of the differences; None with one seed
    p: float | None  # two-sided, of the paired t test; None with too few seeds, or nothing to tell chance by
    p_holm: float | None  # corrected for all contrasts of the study in this measure
    # Seeds with which a paired t test would find the measure's customary difference in four of five studies, as the
    # observed spread suggests; None where no difference is customary, with one seed, or if the test split is too small.
    seeds_needed: int | None
    resolution: float | None = None  # the smallest step of the measure on this test split; None where it is not known


@dataclass(frozen=True)
class BaseResult(Record):
    """The bases of one architecture."""

    architecture: str
    samples_seen: int | None  # None where the weights were given
    validation: dict[str, tuple[float, ...]]  # per measure, one value per seed of the final runs


@dataclass(frozen=True)
class Comparison(Record):
    """What a study found."""

    name: str  #: the study's name
    description: str  #: what it asks
    reference: str  #: the method that the others are compared with
    select_by: str  #: the measure on the validation split that chose settings
    seeds: tuple[int, ...]  #: of the final runs
    selection_seeds: tuple[int, ...]  #: of the runs that chose
    measures: tuple[str, ...]  #: names of the measures, the primary one first
    bases: tuple[BaseResult, ...]  #: per architecture
    cells: tuple[CellResult, ...]  #: every method on every architecture of which all final runs have finished
    contrasts: tuple[Contrast, ...]  #: every method against the reference method
    missing: dict[str, str]  #: cells without result, and why
    data: tuple[str, ...]  #: name, training, validation and test samples of each data set
    runs: int  #: how many runs the study has
    seconds: float  #: time that they trained, one after the other
    hardware: tuple[str, ...]  #: what they ran on
    versions: dict[str, str]  #: name and version of each program
    command: str  #: the command
    study: str  #: the study's TOML text
    #: how measures were computed, by name, where the field has several definitions of one name
    definitions: dict[str, str] = field(default_factory=dict)

    def as_text(self, values: Mapping[str, Any]) -> str:
        """Return compact JSON text with a line for each entry, and one for each base, cell and contrast."""

        def compact(value: Any) -> str:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

        def lines(value: Any) -> str:
            tables = isinstance(value, list) and any(isinstance(item, dict) for item in value)
            return "[\n" + ",\n".join(map(compact, value)) + "\n]" if tables else compact(value)

        return "{\n" + ",\n".join(f"{compact(name)}:{lines(value)}" for name, value in values.items()) + "\n}\n"

    def cell(self, architecture: str, method: str) -> CellResult | None:
        """Return the result of a cell, if there is one."""
        return next((one for one in self.cells if (one.architecture, one.method) == (architecture, method)), None)

    def contrasts_in(self, measure: str) -> tuple[Contrast, ...]:
        """Return the contrasts in one measure."""
        return tuple(contrast for contrast in self.contrasts if contrast.measure == measure)
