"""What is known about how well a model does: from the record of its run, of its improvement, or of its adoption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refconv.digests import check_digest
from refconv.errors import CheckpointError, in_one_line
from refconv.measures.judging import student, wilson
from refconv.models.metadata import ADOPTED, IMPROVED
from refconv.models.model_folder import Located
from refconv.records import parsed_json
from refconv.task_measures import Measure, measures_of

_RUN = "record.json"
_FEWEST = 5  # parts of a split from which on their spread gives an interval


@dataclass(frozen=True)
class Result:
    """A measure of a model on a split of data."""

    measure: Measure
    value: float
    interval: tuple[float, float] | None  # of 95 %; None where it is not known
    samples: int
    data: str  # a name without folders of this machine
    split: str

    def __str__(self) -> str:
        shown = self.measure.said(self.value)
        if self.interval is None:
            return shown
        low, high = (self.measure.shown(value) for value in self.interval)
        return f"{shown} ({low} to {high})"


def results_of(located: Located | None) -> tuple[Result, ...]:
    """Return what the records beside a model folder say about it, the measure that counts first.

    The interval of a share of samples is Wilson's; that of another measure is Student's over parts of the split, where
    the record has them.

    Raises:
        CheckpointError: if a record is damaged.
    """
    if located is None or located.kind != "folder":
        return ()
    readers = {ADOPTED: _of_adopted, IMPROVED: _of_improvement, _RUN: _of_run}
    for folder in (located.path, located.path.parent):
        for name, reader in readers.items():
            # A folder within another one's folder is not described by what lies there.
            if (folder / name).is_file() and (folder == located.path or located.path.name == "model"):
                return _read(folder / name, reader)
    return ()


def data_name(name: str) -> str:
    """Return what data are called without the folders that they lie in.

    Example:
        >>> data_name("folder:/home/me/birds"), data_name("digits"), data_name("coco:data/scenes/")
        ('birds', 'digits', 'scenes')
    """
    kind, separator, path = name.partition(":")
    return Path(path).name or kind if separator else kind


def _read(path: Path, reader: Any) -> tuple[Result, ...]:
    remedy = "remove the file to export without results"
    with in_one_line(CheckpointError, "damaged", where=str(path), expected="a record", remedy=remedy):
        record = check_digest(parsed_json(path.read_text(encoding="utf-8")), str(path), ours=False)
        return tuple(reader(record))


def _of_run(record: Mapping[str, Any]) -> Iterator[Result]:
    if record["test_samples"]:
        own = {name: record[name] for name in ("top1", "top5", "loss", "ece") if record.get(name) is not None}
        yield from _measured(record, {**own, **record["measures"]}, "test", record["test_samples"])


def _of_adopted(record: Mapping[str, Any]) -> Iterator[Result]:
    if record["measures"]:
        yield from _measured(record, record["measures"], record["split"], record["samples"])


def _measured(record: Mapping[str, Any], values: Mapping[str, float], split: str, samples: int) -> Iterator[Result]:
    for measure in measures_of(record.get("task", "classification")).measures:
        value = values.get(measure.name)
        if value is not None and math.isfinite(value) and measure.name != "loss":
            interval = wilson(round(value * samples), samples) if measure.counts else None
            yield Result(measure, value, interval, samples, data_name(record["data"]), split)


def _of_improvement(record: Mapping[str, Any]) -> Iterator[Result]:
    """Return the result's primary measure, which is all that an improvement measures of it."""
    score, split = record["tested"]["winner"], record["tested"]["split"]
    measure, samples = measures_of(record["task"]).primary, score["samples"]
    interval = wilson(score["hits"].count("1"), samples) if score["hits"] else _spread(score["value"], score["blocks"])
    yield Result(measure, score["value"], interval, samples, data_name(record["plan"]["recipe"]["data"]), split)


def _spread(value: float, parts: Sequence[float]) -> tuple[float, float] | None:
    if len(parts) < _FEWEST:
        return None
    mean = math.fsum(parts) / len(parts)
    variance = math.fsum((part - mean) ** 2 for part in parts) / (len(parts) - 1)
    half = student(len(parts)) * math.sqrt(variance / len(parts))
    return value - half, value + half
