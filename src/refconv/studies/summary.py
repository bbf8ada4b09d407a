"""From the records of runs to the record of the study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from refconv.data import DataInfo
from refconv.engine.run_record import RunRecord, command, versions
from refconv.errors import RunError
from refconv.studies.comparison import BaseResult, CellResult, Comparison, Contrast
from refconv.studies.execution import record_of
from refconv.studies.measures import MEASURES, Measure, measured, value_of
from refconv.studies.runs import Run
from refconv.studies.schedule import Cell, Schedule
from refconv.studies.statistics import Interval, bootstrap_interval, holm, p_value, seeds_needed, spread, t_interval
from refconv.studies.step_times import StepTimes
from refconv.studies.study import Study


def summarise(
    study: Study, schedule: Schedule, times: Mapping[str, StepTimes], data: Mapping[str, DataInfo]
) -> Comparison:
    """Put the results of all finished cells together.

    Args:
        study: the study.
        schedule: its runs.
        times: per architecture, the step times.
        data: per architecture, the facts about its data.

    Raises:
        RunError: if a record is damaged, or some runs computed a measure in another way than others.
    """
    records = {cell: [_finished(run) for run in schedule.finals(cell)] for cell in schedule.cells}
    complete = {cell: found for cell, found in records.items() if found and _usable(found)}
    measures = measured(record for found in complete.values() for record in found)
    cells = tuple(_cell(cell, found, schedule, times[cell[0]], measures) for cell, found in complete.items())
    over = [record for run in schedule.over if (record := record_of(run)) is not None]
    return Comparison(
        name=study.name,
        description=study.description,
        reference=study.reference,
        select_by=study.select_by,
        seeds=study.seeds,
        selection_seeds=study.selection_seeds,
        measures=tuple(measure.name for measure in measures),
        bases=_bases(study, schedule),
        cells=cells,
        contrasts=contrast_all(cells, study.reference, [measure.name for measure in measures]),
        missing={
            "/".join(cell): "a result is not finite"
            if found
            else schedule.blame.get(cell, "its runs have not finished")
            for cell, found in records.items()
            if cell not in complete
        },
        data=tuple(dict.fromkeys(_words(info) for info in data.values())),
        runs=len(schedule.over),
        seconds=sum(record.seconds for record in over),
        hardware=tuple(dict.fromkeys(record.hardware for record in over)),
        versions=versions(),
        command=command(),
        study=study.text,
        definitions=_definitions([*over, *(record for found in complete.values() for record in found)], measures),
    )


def _definitions(records: Sequence[RunRecord], measures: Sequence[Measure]) -> dict[str, str]:
    """Return how the measures were computed, where the records say it.

    Raises:
        RunError: if some runs computed one in another way than others.
    """
    found: dict[str, str] = {}
    for measure in measures:
        words = {record.definitions.get(measure.name, measure.note): record for record in records}
        if len(words) > 1:
            raise RunError(
                f"the runs of this study compute {measure.name} in different ways",
                where=measure.name,
                expected="one definition in all records",
                found=" and ".join(sorted(words)),
                remedy="run the study again in a new folder, with a new journal",
            )
        if any(measure.name in record.definitions for record in words.values()):
            found[measure.name] = next(iter(words))
    return found


def _finished(run: Run) -> RunRecord:
    record = record_of(run)
    assert record is not None  # a final run that is over has finished
    return record


def _cell(
    cell: Cell, records: Sequence[RunRecord], schedule: Schedule, times: StepTimes, measures: Sequence[Measure]
) -> CellResult:
    architecture, method = cell
    values = {m.name: tuple(value_of(record, m) for record in records) for m in measures}
    memory = [record.peak_memory_mb for record in records if record.peak_memory_mb is not None]
    choice = schedule.choices[cell]
    return CellResult(
        architecture=architecture,
        method=method,
        point=dict(choice.point),
        edges=choice.edges,
        tried=choice.tried,
        values=values,
        intervals=_intervals(values, records[0].test_samples),
        parameters_trained=records[0].parameters_trained,
        parameters_shipped=records[0].parameters_shipped,
        samples_seen=records[0].samples_seen,
        step_ms=times.median_ms[method],
        step_ratio=times.ratio[method],
        peak_memory_mb=max(memory, default=None),
        test_samples=records[0].test_samples,
    )


def _intervals(values: Mapping[str, tuple[float, ...]], samples: int | None) -> dict[str, Interval]:
    return {name: t_interval(found, MEASURES[name].resolution(samples)) for name, found in values.items()}


def restated(comparison: Comparison) -> Comparison:
    """Return a comparison with its statistics computed anew from the values of its cells.

    Args:
        comparison: the record, which an earlier version may have written.
    """
    cells = tuple(
        dataclasses.replace(cell, intervals=_intervals(cell.values, cell.test_samples)) for cell in comparison.cells
    )
    contrasts = contrast_all(cells, comparison.reference, comparison.measures)
    return dataclasses.replace(comparison, cells=cells, contrasts=contrasts)


def contrast_all(cells: Sequence[CellResult], reference: str, measures: Sequence[str]) -> tuple[Contrast, ...]:
    """Contrast every method with the reference; the contrasts in one measure are one family for Holm's method.

    Args:
        cells: the results.
        reference: the method that the others are compared with.
        measures: names of the measures.
    """
    references = {cell.architecture: cell for cell in cells if cell.method == reference}
    found: list[Contrast] = []
    for name in measures:
        family = [
            _contrast(cell, references[cell.architecture], MEASURES[name])
            for cell in cells
            if cell.method != reference and cell.architecture in references
        ]
        corrected = iter(holm([contrast.p for contrast in family if contrast.p is not None]))
        found += [dataclasses.replace(c, p_holm=next(corrected) if c.p is not None else None) for c in family]
    return tuple(found)


def _contrast(cell: CellResult, reference: CellResult, measure: Measure) -> Contrast:
    pairs = zip(cell.values[measure.name], reference.values[measure.name], strict=True)
    differences = tuple(value - other for value, other in pairs)
    resolution = measure.resolution(cell.test_samples)
    s = spread(differences) if len(differences) > 1 else None
    return Contrast(
        architecture=cell.architecture,
        method=cell.method,
        measure=measure.name,
        differences=differences,
        interval=t_interval(differences, resolution),
        bootstrap=bootstrap_interval(differences, resolution),
        spread=s,
        p=p_value(differences, resolution),
        p_holm=None,
        seeds_needed=seeds_needed(s, measure.resolve, resolution) if s is not None and measure.resolve else None,
        resolution=resolution,
    )


def _bases(study: Study, schedule: Schedule) -> tuple[BaseResult, ...]:
    found = []
    for architecture in study.architectures:
        runs = [run for run in schedule.over if run.kind == "base" and run.architecture == architecture.name]
        records = [record for run in runs if run.recipe.seed in study.seeds and (record := record_of(run)) is not None]
        ends = [record.val_last for record in records if record.val_last is not None]
        if records or architecture.base.given:
            validation = {m.name: tuple(value_of(end, m) for end in ends) for m in measured(ends) if m.validated}
            seen = records[0].samples_seen if records else None
            found.append(BaseResult(architecture.name, seen, validation))
    return tuple(found)


def _usable(records: Sequence[RunRecord]) -> bool:
    """Say whether all results of a cell are numbers to compute with."""
    return all(math.isfinite(value_of(record, m)) for record in records for m in measured([record]))


def _words(info: DataInfo) -> str:
    sizes = f"{info.train_size:,} training, {info.val_size:,} validation and {info.test_size:,} test samples"
    return f"{info.name}: {sizes} of {'x'.join(map(str, info.input_size))}"
