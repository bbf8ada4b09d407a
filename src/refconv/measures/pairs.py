"""What is judged and reported: pairs of models with one start, each with the records of its analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from refconv.errors import RunError
from refconv.measures.facts import FACTS_FILE, PairFacts
from refconv.records import Record

Role = Literal["before"] | int  #: A model of a page: the shared start, or the result of pair 0, 1 and so on
BEFORE = "before"  #: What the shared start is called
ANALYSE_AGAIN = "analyse again by this version"  #: The remedy for records that cannot be read

RECORDS = {
    "redundancy": "redundancy.Redundancy",
    "skeleton": "kernels.Skeletons",
    "filters": "filters.FilterStatistics",
    "components": "kernels.FilterComponents",
    "gaussians": "filters.GaussianFits",
    "movement": "refocusing.Movement",
    "relations": "refocusing.Relations",
    "spectrum": "refocusing.GramSpectra",
    "smoothness": "frequencies.Smoothness",
    "norms": "frequencies.SpectralNorms",
    "ranges": "ranges.WeightRanges",
    "kernels": "kernels.KernelSamples",
    "scores": "scores.Scores",
    "cues": "cues.CueConflict",  # of stimuli that only the user has: refconv.analysis.cue_conflict
    "agreement": "agreement.Agreement",
    "calibration": "agreement.Calibration",
    "similarity": "features.Similarity",
    "probes": "embeddings.Probes",
    "neighbours": "embeddings.Neighbours",
    "fourier": "frequencies.FeatureSpectra",
    "attention": "features.Attention",
    "explanations": "explanations.Explanations",
    "receptive_field": "features.ReceptiveField",
    "interpolation": "landscape.Interpolation",
    "landscape": "landscape.LossLine",
    "surface": "landscape.LossSurface",
    "sharpness": "sharpness.Sharpness",
    "curvature": "sharpness.Curvature",
    "attacks": "robustness.AdversarialRobustness",
    "corruptions": "robustness.CorruptionRobustness",
    "shifts": "robustness.ShiftConsistency",
}
"""Module and class, imported only to read a record, as the modules hold the verdicts, too, which read pairs."""


def measure_of(file: str) -> str:
    """Return the measure that a record belongs to: that of one of two models adds ``-before`` or ``-after``.

    Example:
        >>> measure_of("calibration-after"), measure_of("redundancy")
        ('calibration', 'redundancy')
    """
    return file.removesuffix("-before").removesuffix("-after")


def record_class(file: str) -> type[Record]:
    """Return the class of a record by the name of its file."""
    module, _, name = RECORDS[measure_of(file)].partition(".")
    found: type[Record] = getattr(import_module(f"refconv.measures.{module}"), name)
    return found


@dataclass(frozen=True)
class ModelPair:
    """Two models, before and after, and what was measured of them.

    Attributes:
        name: what the reader calls it, such as ``refocus``.
        facts: what ``pair.json`` says: the two models, their task, the data, versions.
        records: the records of measures, by the names of their files: ``redundancy`` for both models together,
            ``calibration-before`` and ``calibration-after`` where each has its own; what is no record of a measure is
            left out.

    Facts and records may be plain dictionaries, as JSON gives them.

    Raises:
        RunError: if the facts or a record are damaged, or of another version.
    """

    name: str
    facts: PairFacts
    records: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", read_json(PairFacts, self.facts, FACTS_FILE))
        known = {file: found for file, found in self.records.items() if measure_of(file) in RECORDS}
        object.__setattr__(self, "records", {file: read_record(file, found) for file, found in known.items()})

    def record(self, name: str) -> Any:
        """Return a record of both models by name; None if it was not taken."""
        return self.records.get(name)

    def sides(self, name: str) -> tuple[Any, Any] | None:
        """Return the records of the two models, the earlier first; None if they were not taken."""
        before, after = self.records.get(f"{name}-before"), self.records.get(f"{name}-after")
        return None if before is None or after is None else (before, after)


def read_record(file: str, found: Any, where: str = "") -> Any:
    """Return the record of a measure that JSON gave; what is one already is returned as it is.

    Raises:
        RunError: if it is damaged, or of another version; it names ``where``, or the file.
    """
    return read_json(record_class(file), found, where or f"{file}.json")


def read_json(kind: type[Record], found: Any, where: str) -> Any:
    """Return the record of a kind that JSON gave; see :func:`read_record`.

    Raises:
        RunError: if it is damaged, or of another version.
    """
    if isinstance(found, kind):
        return found
    try:
        return kind.from_dict(found)
    except (ValueError, TypeError) as error:
        raise RunError("cannot read a record", where=where, found=str(error), remedy=ANALYSE_AGAIN) from error


@dataclass(frozen=True)
class Sides:
    """The records of the two models of a pair, where each has its own."""

    before: Any
    after: Any


@dataclass(frozen=True)
class Measured:
    """One pair with one record, of both models or :class:`Sides`; its place among all pairs is its role in charts."""

    role: int
    pair: ModelPair
    record: Any

    @property
    def name(self) -> str:
        """The pair's name."""
        return self.pair.name

    @property
    def before(self) -> Any:
        """What the record says of the earlier model."""
        return self.record.before

    @property
    def after(self) -> Any:
        """What the record says of the later model."""
        return self.record.after

    @property
    def sides(self) -> tuple[Any, Any]:
        """What the record says of both models."""
        return self.record.before, self.record.after

    @property
    def plain(self) -> bool:
        """Whether the pair went from before to after by plain training."""
        return (self.pair.facts.after.trained_by or self.name) == "plain"

    def class_name(self, place: int) -> str:
        """Return what class number `place` is called."""
        names = self.pair.facts.class_names
        return names[place] if place < len(names) else f"class {place}"


def measured(pairs: Sequence[ModelPair], name: str) -> list[Measured]:
    """Return the pairs that have a record of this name, of both models or of each, in their order."""
    found = []
    for role, pair in enumerate(pairs):
        sides = pair.sides(name)
        record = pair.record(name) or (sides and Sides(*sides))
        if record:
            found.append(Measured(role, pair, record))
    return found


def role_names(items: Sequence[Measured], *, before: bool = True) -> dict[Role, str]:
    """Return what roles are called in charts: the start, if it is drawn, and the pairs."""
    start: dict[Role, str] = {"before": BEFORE} if before else {}
    return {**start, **{item.role: item.name for item in items}}


def models(items: Sequence[Measured]) -> list[tuple[Role, str, Any]]:
    """Return (role, name, record) of the shared start, as measured with the first pair, and of each pair's result."""
    return [("before", BEFORE, items[0].before), *((item.role, item.name, item.after) for item in items)]


def rivals(items: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    """Return who is to be compared with whom: every other pair with plain training, or with the first without such."""
    if len(items) < 2:
        return []
    reference = next((item for item in items if item.plain), items[0])
    return [(item, reference) for item in items if item is not reference]


def notes_on(pairs: Sequence[ModelPair], items: Sequence[Measured], name: str) -> tuple[str, ...]:
    """Return what is to be said of pairs without the record, and of a start that was not measured alike in all."""
    without = [pair for role, pair in enumerate(pairs) if role not in {item.role for item in items}]
    notes = [_missing(pair, name) for pair in without]
    if any(getattr(item.record, "before", None) != getattr(items[0].record, "before", None) for item in items):
        notes.append(f"The start was measured anew for each pair and came out differently; drawn is {items[0].name}'s.")
    return tuple(notes)


def _missing(pair: ModelPair, name: str) -> str:
    if pair.record(name) is not None:
        return f"{pair.name} has no layers that this measure is about."
    reason = pair.facts.left_out.get(name)
    return f"{pair.name} was not measured{f': {reason}' if reason else ''}."
