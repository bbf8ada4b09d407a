"""From the records of runs to the record of the study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from refconv.data import DataInfo
from refconv.engine.run_record import RunRecord, ValidationPoint, command, versions
from refconv.errors import RunError
from refconv.studies.comparison import MEASURES, BaseResult, CellResult, Comparison, Contrast, Gain
from refconv.studies.estimate import StepTimes
from refconv.studies.execution import record_of
from refconv.studies.runs import Run
from refconv.studies.schedule import Cell, Schedule
from refconv.studies.statistics import Interval, bootstrap_interval, holm, p_value, seeds_needed, spread, t_interval
from refconv.studies.study import Study
from refconv.task_measures import Measure


def summarise(
    study: Study, schedule: Schedule, times: Mapping[str, StepTimes], data: Mapping[str, DataInfo]
) -> Comparison:
    """Put the results of all finished cells together, with step times and facts about the data per architecture."""
    records = {cell: [_finished(run) for run in schedule.finals(cell)] for cell in schedule.cells}
    complete = {cell: found for cell, found in records.items() if found and _usable(found)}
    measures = measured(record for found in complete.values() for record in found)
    names = [measure.name for measure in measures]
    cells = tuple(_cell(cell, found, schedule, times[cell[0]], names) for cell, found in complete.items())
    over = [record for run in schedule.over if (record := record_of(run)) is not None]
    definitions = _definitions([*over, *(record for found in complete.values() for record in found)], measures)
    missing = {
        "/".join(cell): "a result is not finite" if found else schedule.blame.get(cell, "its runs have not finished")
        for cell, found in records.items()
        if cell not in complete
    }
    return Comparison(
        name=study.name, description=study.description, reference=study.reference, select_by=study.select_by,
        seeds=study.seeds, selection_seeds=study.selection_seeds, measures=tuple(names),
        bases=_bases(study, schedule), cells=cells, contrasts=contrast_all(cells, study.reference, names),
        missing=missing, data=tuple(dict.fromkeys(_words(info) for info in data.values())),
        runs=len(schedule.over), seconds=sum(record.seconds for record in over),
        hardware=tuple(dict.fromkeys(record.hardware for record in over)), versions=versions(), command=command(),
        study=study.text, definitions=definitions,
    )  # fmt: skip


def _definitions(records: Sequence[RunRecord], measures: Sequence[Measure]) -> dict[str, str]:
    """Return how the measures were computed, where the records say it; all runs have to agree."""
    found: dict[str, str] = {}
    for measure in measures:
        words = {record.definitions.get(measure.name, measure.note): record for record in records}
        if len(words) > 1:
            what, expected = f"the runs compute {measure.name} in different ways", "one definition in all records"
            remedy = "run the study again in a new folder, with a new journal"
            different = " and ".join(sorted(words))
            raise RunError(what, where=measure.name, expected=expected, found=different, remedy=remedy)
        if any(measure.name in record.definitions for record in words.values()):
            found[measure.name] = next(iter(words))
    return found


def _finished(run: Run) -> RunRecord:
    record = record_of(run)
    assert record is not None  # a final run that is over has finished
    return record


def _cell(
    cell: Cell, records: Sequence[RunRecord], schedule: Schedule, times: StepTimes, measures: Sequence[str]
) -> CellResult:
    (architecture, method), choice, first = cell, schedule.choices[cell], records[0]
    values = {name: tuple(_value_of(record, MEASURES[name]) for record in records) for name in measures}
    memory = [record.peak_memory_mb for record in records if record.peak_memory_mb is not None]
    return CellResult(
        architecture=architecture, method=method, point=dict(choice.point), edges=choice.edges, tried=choice.tried,
        values=values, intervals=_intervals(values, first.test_samples), parameters_trained=first.parameters_trained,
        parameters_shipped=first.parameters_shipped, samples_seen=first.samples_seen,
        step_ms=times.median_ms[method], step_ratio=times.ratio[method], peak_memory_mb=max(memory, default=None),
        test_samples=first.test_samples, gain=gain_of(records),
    )  # fmt: skip


def gain_of(records: Sequence[RunRecord]) -> Gain | None:
    """Return what the final runs of a cell made of their starts; None if not all of them say so, in one measure."""
    courses = [record.course for record in records]
    known = [(course, course.end) for course in courses if course is not None and course.end is not None]
    same = {(course.measure, course.split, course.samples) for course, _ in known}
    if len(known) < len(records) or len(same) != 1 or known[0][0].measure not in MEASURES:
        return None
    ((measure, split, samples),) = same
    return Gain(measure, split, samples, tuple(course.start for course, _ in known), tuple(end for _, end in known))


def _intervals(values: Mapping[str, tuple[float, ...]], samples: int | None) -> dict[str, Interval]:
    return {name: t_interval(found, MEASURES[name].resolution(samples)) for name, found in values.items()}


def restated(comparison: Comparison) -> Comparison:
    """Return a comparison, perhaps of an earlier version, with its statistics computed anew from its cells' values."""
    cells = tuple(dataclasses.replace(c, intervals=_intervals(c.values, c.test_samples)) for c in comparison.cells)
    contrasts = contrast_all(cells, comparison.reference, comparison.measures)
    return dataclasses.replace(comparison, cells=cells, contrasts=contrasts)


def contrast_all(cells: Sequence[CellResult], reference: str, measures: Sequence[str]) -> tuple[Contrast, ...]:
    """Contrast every method with the reference; the contrasts in one measure are one family for Holm's method."""
    references = {cell.architecture: cell for cell in cells if cell.method == reference}
    rivals = [cell for cell in cells if cell.method != reference and cell.architecture in references]
    found: list[Contrast] = []
    for name in measures:
        family = [_contrast(cell, references[cell.architecture], MEASURES[name]) for cell in rivals]
        corrected = iter(holm([contrast.p for contrast in family if contrast.p is not None]))
        found += [dataclasses.replace(c, p_holm=next(corrected) if c.p is not None else None) for c in family]
    return tuple(found)


def _contrast(cell: CellResult, reference: CellResult, measure: Measure) -> Contrast:
    pairs = zip(cell.values[measure.name], reference.values[measure.name], strict=True)
    differences = tuple(value - other for value, other in pairs)
    resolution = measure.resolution(cell.test_samples)
    s = spread(differences) if len(differences) > 1 else None
    needed = seeds_needed(s, measure.resolve, resolution) if s is not None and measure.resolve else None
    return Contrast(
        architecture=cell.architecture, method=cell.method, measure=measure.name, differences=differences,
        interval=t_interval(differences, resolution), bootstrap=bootstrap_interval(differences, resolution),
        spread=s, p=p_value(differences, resolution), p_holm=None, seeds_needed=needed, resolution=resolution,
    )  # fmt: skip


def _bases(study: Study, schedule: Schedule) -> tuple[BaseResult, ...]:
    found = []
    for architecture in study.architectures:
        runs = [run for run in schedule.over if run.kind == "base" and run.architecture == architecture.name]
        records = [record for run in runs if run.recipe.seed in study.seeds and (record := record_of(run)) is not None]
        ends = [record.val_last for record in records if record.val_last is not None]
        if records or architecture.base.given:
            validation = {m.name: tuple(_value_of(end, m) for end in ends) for m in measured(ends) if m.validated}
            seen = records[0].samples_seen if records else None
            found.append(BaseResult(architecture.name, seen, validation))
    return tuple(found)


def _value_of(record: RunRecord | ValidationPoint, measure: Measure) -> float:
    """Return a measure that a record is known to hold."""
    value = record.measure(measure.name)
    assert value is not None, measure.name
    return float(value)


def measured(records: Iterable[RunRecord | ValidationPoint]) -> tuple[Measure, ...]:
    """Return the measures that every one of some records holds, in the order of :data:`MEASURES`."""
    records = list(records)
    return tuple(m for m in MEASURES.values() if records and all(r.measure(m.name) is not None for r in records))


def _usable(records: Sequence[RunRecord]) -> bool:
    """Return whether all results of a cell are numbers to compute with."""
    return all(math.isfinite(_value_of(record, m)) for record in records for m in measured([record]))


def _words(info: DataInfo) -> str:
    sizes = f"{info.train_size:,} training, {info.val_size:,} validation and {info.test_size:,} test samples"
    return f"{info.name}: {sizes} of {'x'.join(map(str, info.input_size))}"
