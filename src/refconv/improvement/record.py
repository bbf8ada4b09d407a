"""The records of an improvement: its plan, what was tried, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refconv.exporting.record import ExportRecord
from refconv.improvement.halving import Round
from refconv.improvement.scoring import Difference, Score
from refconv.records import Record
from refconv.surgery import Certificate


@dataclass(frozen=True)
class Entry(Record):
    """A contender at a learning rate."""

    contender: str  #: its name
    title: str  #: what it is, in words
    lr: float  #: the learning rate
    cost: float = 1.0  #: what a step of it costs, as a multiple of a plain step; runs are shorter by it

    def __str__(self) -> str:
        return f"{self.contender} lr {self.lr:g}"


@dataclass(frozen=True)
class SearchPlan(Record):
    """What is done with the budget; written before the first run, so that a later call goes on with the same plan."""

    recipe: dict[str, Any]  #: the settings that all runs share
    teacher: str | None  #: the teacher's name; None without distillation
    contenders: tuple[str, ...]  #: the patterns of those that take part; empty for all
    budget: str  #: the budget in the user's words
    samples: int  #: the budget in training samples
    entries: tuple[Entry, ...]  #: contenders and learning rates, as many as the first round takes
    rounds: tuple[Round, ...]  #: the rounds
    steps_per_epoch: int  #: optimizer steps in an epoch
    excluded: dict[str, str]  #: contenders that do not go with the settings, and why
    step_ms: dict[str, float]  #: per contender, median milliseconds of a training step
    memory_mb: dict[str, float]  #: per contender, the most memory of an accelerator that a step took; empty on a CPU
    seconds: float  #: expected time of the whole search
    train_samples: int  #: samples of the training split
    base: Score  #: the network as it is, on the validation split
    base_tested: Score | None  #: the same on the test split; None where the data has none
    notes: tuple[str, ...] = ()  #: what the look said: the preprocessing, and warnings
    fingerprint: str = ""  #: of the network's weights and of samples of the data
    waiting: tuple[str, ...] = ()  #: contenders that the budget did not suffice for
    enough: str = ""  #: the budget that suffices for all contenders, about; empty where none waits


@dataclass(frozen=True)
class Tried(Record):
    """One run of the search."""

    round: int  #: its round, from 1
    entry: Entry  #: what was trained
    steps: int  #: optimizer steps
    value: float | None  #: the measure on the validation split; None if the run diverged or failed
    loss: float | None = None  #: mean validation loss, where there is one
    message: str = ""  #: why there is no value


@dataclass(frozen=True)
class Candidate(Record):
    """Weights among which the result is chosen."""

    name: str  #: what they are, in words
    members: tuple[str, ...]  #: the runs whose weights they are, or are the mean of; none for the network as it was
    #: ``base``, ``average`` (the moving average of a run), ``last``, ``tail`` (the mean of its last epochs), ``soup``
    #: (the mean over runs) or ``statistics`` (the same with batch-norm statistics recomputed)
    kind: str
    complexity: float  #: within noise, weights of less are preferred
    refocused: bool  #: whether a refocused run is among the members
    score: Score  #: on the validation split


@dataclass(frozen=True)
class FinalScores(Record):
    """What was read on the test split, once."""

    split: str  #: ``test``, or ``val`` where the data has no test split
    base: Score  #: the network as it was
    winner: Score  #: the result
    unrefocused: Score | None = None  #: the best single run without refocusing; None if there was none
    refocused: Score | None = None  #: the best single run with refocusing; None if there was none


@dataclass(frozen=True)
class ImproveRecord(Record):
    """What an improvement found."""

    model: str  #: the model's name
    task: str
    verdict: str  #: the result in a sentence or two
    plan: SearchPlan  #: what was planned
    tried: tuple[Tried, ...]  #: every run
    candidates: tuple[Candidate, ...]  #: weights among which the result was chosen, the network as it was first
    winner: str  #: the name of the chosen one
    unrefocused: str | None  #: the name of the best single run without refocusing; None if there was none
    refocused: str | None  #: the name of the best single run with refocusing
    tested: FinalScores  #: what was read on the test split
    gain: Difference  #: the winner against the network as it was, on the test split
    #: the best refocused run against the best one without, on the test split, at equal cost
    refocusing: Difference | None
    certificate: Certificate  #: the result against the network as it was: the same structure
    samples_seen: int  #: training samples of all runs together
    seconds: float  #: training time of all runs together
    preprocessing: str  #: how images became tensors
    hardware: str  #: what it ran on
    versions: dict[str, str]  #: name and version of each program
    command: str  #: the command
    exports: tuple[ExportRecord, ...] = ()  #: files for other programs, and their checks

    def candidate(self, name: str) -> Candidate:
        """Return a candidate by name."""
        return next(one for one in self.candidates if one.name == name)
