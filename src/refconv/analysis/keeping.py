"""What an analysis keeps: measures as they are taken, in a folder with which the next analysis goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from refconv.analysis.evidence import SCORES
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES, Found
from refconv.analysis.stimuli import CUES
from refconv.errors import RefconvError, RunError
from refconv.measures.facts import FACTS_FILE, PairFacts
from refconv.measures.pairs import read_record
from refconv.models.run_folder import AGAIN, writing
from refconv.paths import path_of
from refconv.process.interruption import StoppedError
from refconv.records import Record, content_of

UNFINISHED = "not taken yet: the analysis has not finished"  #: Why a measure is left out until it is taken
SIDES = ("", "-before", "-after")
"""What follows the name of a measure in the name of a record: one of both models, or one of each."""


@dataclass(frozen=True)
class Analysis:
    """What was found: records by the names of their files, without those of measures that are in its folder already."""

    facts: PairFacts
    records: Mapping[str, Record] = field(default_factory=dict)

    def write(self, folder: Path | str) -> None:
        """Write a JSON file per record, and pair.json last; records of measures that ``facts`` does not name go.

        Where a ``pair.json`` of the same analysis is there, it holds until the new one takes its place.
        """
        place = path_of(folder)
        with writing(place, AGAIN):
            place.mkdir(parents=True, exist_ok=True)
            there = read_facts(place)
            if there is None or not self.facts.continues(there):
                (place / FACTS_FILE).unlink(missing_ok=True)
            for name in (*WEIGHT_MEASURES, *DATA_MEASURES, SCORES, CUES):
                if name not in self.facts.measured:
                    for side in SIDES:
                        (place / f"{name}{side}.json").unlink(missing_ok=True)
            for name, record in self.records.items():
                record.write(place / f"{name}.json")
            self.facts.write(place / FACTS_FILE)


class Taken:
    """Measures as they are taken, added to those of an earlier analysis: records and seconds, or why there are none."""

    def __init__(self, asked: Sequence[str], earlier: PairFacts | None) -> None:
        self._asked = asked
        self.records: dict[str, Record] = {}
        self._errors: list[RefconvError] = []
        self.measured = dict(earlier.measured if earlier else {})
        self.samples = dict(earlier.samples if earlier else {})
        self.left_out = dict(earlier.left_out if earlier else {})
        self._images = earlier.images if earlier else ""
        self._digest = earlier.data_digest if earlier else ""

    def leave_out(self, names: Sequence[str], reason: str | None) -> None:
        """Leave measures out, if there is a reason."""
        self.left_out |= {} if reason is None else dict.fromkeys(names, reason)

    @property
    def missing(self) -> list[str]:
        """Those of the measures that are asked for which have not been taken."""
        return [name for name in self._asked if name not in self.measured]

    def on(self, images: str, digest: str) -> None:
        """Note the data, by a digest; earlier measures that were taken on other data are forgotten."""
        if self._digest not in {"", digest}:
            self.measured = {name: value for name, value in self.measured.items() if name in WEIGHT_MEASURES}
            self.samples = {}
        self._images, self._digest = images, digest

    def take(self, name: str, measure: Callable[[str], Found]) -> Mapping[str, Record]:
        """Take a measure and return its records; none if it could not be taken."""
        begin = time.perf_counter()
        try:
            found = measure(name)
        except RefconvError as error:
            self.left_out[name] = str(error)
            self._errors.append(error)
            return {}
        except torch.OutOfMemoryError:
            self.left_out[name] = "the device has too little memory"
            return {}
        self.measured[name] = round(time.perf_counter() - begin, 3)
        records = {name if side == "pair" else f"{name}-{side}": record for side, record in found.items()}
        self.records |= records
        if name not in WEIGHT_MEASURES:
            first: Any = next(iter(found.values()))
            self.samples[name] = getattr(first, "conditions", first).samples
        return records

    def check(self) -> None:
        """Raise the error of the first measure, where none could be taken."""
        if self._errors and self.measured.keys().isdisjoint(self._asked):
            raise self._errors[0]

    def facts(self, facts: PairFacts, left: Sequence[str] = ()) -> PairFacts:
        """Return the facts of an analysis with what was measured so far; ``left``: what is still to be measured."""
        left_out = {**self.left_out, **dict.fromkeys(left, UNFINISHED)}
        return replace(
            facts,
            measured=dict(self.measured),
            left_out={name: reason for name, reason in left_out.items() if name not in self.measured},
            samples=dict(self.samples),
            images=self._images,
            data_digest=self._digest,
        )


def reusable(folder: Path, now: PairFacts, beside: PairFacts | None = None) -> PairFacts | None:
    """Return the facts of the analysis in a folder, finished or not, whose records still hold; None if nothing does.

    ``now``: what an analysis would begin with. Records of another number of samples than the measures of ``beside``
    took do not hold.
    """
    facts = read_facts(folder)
    if facts is None or facts.belonging != now.belonging:
        return None
    wanted = {**facts.samples, **(beside.samples if beside else {})}
    held = [name for name in facts.measured if facts.samples.get(name) == wanted.get(name) and _readable(folder, name)]
    samples = {name: facts.samples[name] for name in held if name in facts.samples}
    return replace(facts, measured={name: facts.measured[name] for name in held}, samples=samples)


@contextmanager
def saying_what_is_kept(keep: Path | None, now: PairFacts, asked: Sequence[str], *, again: bool) -> Iterator[None]:
    """Say at Ctrl-C how many of the measures that are asked for are kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if keep is None:
            remedy = "with --out FOLDER each is kept as soon as it is finished"
            raise StoppedError("stopped, and no measure is kept", remedy=remedy) from None
        facts = reusable(keep, now)
        kept = [name for name in asked if facts is not None and name in facts.measured]
        if not kept:
            problem, remedy = "stopped before a measure was finished", "the same command starts again"
            raise StoppedError(problem, where=str(keep), remedy=remedy) from None
        problem = f"stopped; {len(kept)} of {len(asked)} measures are finished and kept"
        remedy = f"the same command{', without --again,' if again else ''} goes on with the rest"
        raise StoppedError(problem, where=str(keep), remedy=remedy) from None


def read_facts(folder: Path) -> PairFacts | None:
    """Read the facts of an analysis; None if there are none, or none of this version."""
    try:
        return PairFacts.read(folder / FACTS_FILE)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _readable(folder: Path, name: str) -> bool:
    """Return whether the records of a measure are there and can be read."""
    found = [side for side in SIDES if (folder / f"{name}{side}.json").exists()]
    try:
        for side in found:
            read_record(name, content_of((folder / f"{name}{side}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RunError):
        return False
    return found in ([SIDES[0]], [*SIDES[1:]])
