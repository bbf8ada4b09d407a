"""The record of a study: what was compared, what came out, and what can be said about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from refconv.records import Record
from refconv.studies.choosing import Tried
from refconv.studies.statistics import Interval


def compact_json(entries: Mapping[str, Any]) -> str:
    """Return JSON text with a line for each entry; an entry that is a list of tables has a line for each of them."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def lines(value: Any) -> str:
        if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
            return compact(value)
        return "[\n" + ",\n".join(map(compact, value)) + "\n]"

    return "{\n" + ",\n".join(f"{compact(name)}:{lines(value)}" for name, value in entries.items()) + "\n}\n"


@dataclass(frozen=True)
class CellResult(Record):
    """One method on one architecture.

    Attributes:
        architecture: name of the architecture.
        method: name of the method.
        point: the settings that were chosen on the validation split.
        edges: those among them that stand at the edge of their grid.
        tried: every combination that was tried.
        values: per measure, one value per seed, on the test split.
        intervals: per measure, mean and t interval over the seeds.
        parameters_trained: parameters with a gradient.
        parameters_shipped: parameters of the plain result.
        samples_seen: training samples of one final run.
        step_ms: median time of a step.
        step_ratio: the same as a ratio to the reference method, median of paired steps taken in turn.
        peak_memory_mb: the most memory of an accelerator in any final run; None on a CPU.
        test_samples: samples of the test split; None in records that did not note it.
    """

    architecture: str
    method: str
    point: dict[str, Any]
    edges: tuple[str, ...]
    tried: tuple[Tried, ...]
    values: dict[str, tuple[float, ...]]
    intervals: dict[str, Interval]
    parameters_trained: int
    parameters_shipped: int
    samples_seen: int
    step_ms: float
    step_ratio: float
    peak_memory_mb: float | None
    test_samples: int | None = None


@dataclass(frozen=True)
class Contrast(Record):
    """A method minus the reference method, seed by seed, on one architecture and in one measure.

    Attributes:
        architecture: name of the architecture.
        method: name of the method.
        measure: name of the measure.
        differences: one per seed.
        interval: mean and t interval, no finer than the test split resolves.
        bootstrap: mean and bootstrap interval, the same.
        spread: standard deviation of the differences; None with one seed.
        p: two-sided p-value of the paired t test; None with too few seeds for a test, or nothing to tell chance by.
        p_holm: the same, corrected by Holm's method for all contrasts of the study in this measure.
        seeds_needed: seeds with which a paired t test would find the measure's customary difference in four of five
            studies, as the observed spread suggests; None where there is no such difference, one seed, or a test split
            that does not resolve it.
        resolution: the smallest step of the measure on this test split; None where it is not known.
    """

    architecture: str
    method: str
    measure: str
    differences: tuple[float, ...]
    interval: Interval
    bootstrap: Interval
    spread: float | None
    p: float | None
    p_holm: float | None
    seeds_needed: int | None
    resolution: float | None = None


@dataclass(frozen=True)
class BaseResult(Record):
    """The bases of one architecture.

    Attributes:
        architecture: name of the architecture.
        samples_seen: training samples seen by each; None where the weights were given.
        validation: per measure, one value per seed of the final runs, on the validation split.
    """

    architecture: str
    samples_seen: int | None
    validation: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Comparison(Record):
    """What a study found.

    Attributes:
        name: the study's name.
        description: what it asks.
        reference: the method that the others are compared with.
        select_by: the measure on the validation split that chose settings.
        seeds: of the final runs.
        selection_seeds: of the runs that chose.
        measures: names of the measures, the primary one first.
        bases: per architecture.
        cells: every method on every architecture of which all final runs have finished.
        contrasts: every method against the reference method.
        missing: cells without result, and why.
        data: name, training, validation and test samples of each data set.
        runs: how many runs the study has.
        seconds: time that they trained, one after the other.
        hardware: what they ran on.
        versions: name and version of each program.
        command: the command.
        study: the study's TOML text.
        definitions: how measures were computed, by name, where the field has several definitions of one name.
    """

    name: str
    description: str
    reference: str
    select_by: str
    seeds: tuple[int, ...]
    selection_seeds: tuple[int, ...]
    measures: tuple[str, ...]
    bases: tuple[BaseResult, ...]
    cells: tuple[CellResult, ...]
    contrasts: tuple[Contrast, ...]
    missing: dict[str, str]
    data: tuple[str, ...]
    runs: int
    seconds: float
    hardware: tuple[str, ...]
    versions: dict[str, str]
    command: str
    study: str
    definitions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return compact JSON text with a line for each entry, and one for each cell and each contrast."""
        return compact_json(self.to_dict())

    def cell(self, architecture: str, method: str) -> CellResult | None:
        """Return the result of a cell, if there is one."""
        found = (cell for cell in self.cells if (cell.architecture, cell.method) == (architecture, method))
        return next(found, None)

    def contrasts_in(self, measure: str) -> tuple[Contrast, ...]:
        """Return the contrasts in one measure."""
        return tuple(contrast for contrast in self.contrasts if contrast.measure == measure)
