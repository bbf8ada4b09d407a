"""The records of an improvement: its plan, what was tried, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refconv.improvement.halving import Round
from refconv.improvement.scoring import Difference, Score
from refconv.records import Record
from refconv.surgery import Certificate


@dataclass(frozen=True)
class Entry(Record):
    """A contender at a learning rate.

    Attributes:
        contender: its name.
        title: what it is, in words.
        lr: the learning rate.
        cost: what a step of it costs, as a multiple of a plain step; runs are shorter by it.
    """

    contender: str
    title: str
    lr: float
    cost: float = 1.0

    def __str__(self) -> str:
        return f"{self.contender} lr {self.lr:g}"


@dataclass(frozen=True)
class SearchPlan(Record):
    """What is done with the budget; written before the first run, so that a later call goes on with the same plan.

    Attributes:
        recipe: the settings that all runs share.
        teacher: the teacher's name; None without distillation.
        contenders: the patterns of those that take part; empty for all.
        budget: the budget in the user's words.
        samples: the budget in training samples.
        entries: contenders and learning rates, as many as the first round takes.
        rounds: the rounds.
        steps_per_epoch: optimizer steps in an epoch.
        excluded: contenders that do not go with the settings, and why.
        step_ms: per contender, median milliseconds of a training step.
        memory_mb: per contender, the most memory of an accelerator that a step took; empty on a CPU.
        seconds: expected time of the whole search.
        train_samples: samples of the training split.
        base: the network as it is, on the validation split.
        base_tested: the same on the test split; None where the data has none.
    """

    recipe: dict[str, Any]
    teacher: str | None
    contenders: tuple[str, ...]
    budget: str
    samples: int
    entries: tuple[Entry, ...]
    rounds: tuple[Round, ...]
    steps_per_epoch: int
    excluded: dict[str, str]
    step_ms: dict[str, float]
    memory_mb: dict[str, float]
    seconds: float
    train_samples: int
    base: Score
    base_tested: Score | None


@dataclass(frozen=True)
class Tried(Record):
    """One run of the search.

    Attributes:
        round: its round, from 1.
        entry: what was trained.
        steps: optimizer steps.
        value: the measure on the validation split; None if the run diverged or failed.
        loss: mean validation loss, where there is one.
        message: why there is no value.
    """

    round: int
    entry: Entry
    steps: int
    value: float | None
    loss: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Candidate(Record):
    """Weights among which the result is chosen.

    Attributes:
        name: what they are, in words.
        members: the runs whose weights they are, or are the mean of; none for the network as it was.
        kind: ``base``, ``average`` (the moving average of a run), ``last``, ``tail`` (the mean of its last epochs),
            ``soup`` (the mean over runs) or ``statistics`` (the same with batch-norm statistics recomputed).
        complexity: within noise, weights of less are preferred.
        refocused: whether a refocused run is among the members.
        score: on the validation split.
    """

    name: str
    members: tuple[str, ...]
    kind: str
    complexity: float
    refocused: bool
    score: Score


@dataclass(frozen=True)
class FinalScores(Record):
    """What was read on the test split, once.

    Attributes:
        split: ``test``, or ``val`` where the data has no test split.
        base: the network as it was.
        winner: the result.
        unrefocused: the best single run without refocusing; None if there was none.
        refocused: the best single run with refocusing; None if there was none.
    """

    split: str
    base: Score
    winner: Score
    unrefocused: Score | None = None
    refocused: Score | None = None


@dataclass(frozen=True)
class ImproveRecord(Record):
    """What an improvement found.

    Attributes:
        model: the model's name.
        task: the task.
        verdict: the result in a sentence or two.
        plan: what was planned.
        tried: every run.
        candidates: weights among which the result was chosen, the network as it was first.
        winner: the name of the chosen one.
        unrefocused: the name of the best single run without refocusing; None if there was none.
        refocused: the name of the best single run with refocusing.
        tested: what was read on the test split.
        gain: the winner against the network as it was, on the test split.
        refocusing: the best refocused run against the best one without, on the test split, at equal cost.
        certificate: the result against the network as it was: the same structure.
        samples_seen: training samples of all runs together.
        seconds: training time of all runs together.
        preprocessing: how images became tensors.
        hardware: what it ran on.
        versions: name and version of each program.
        command: the command.
    """

    model: str
    task: str
    verdict: str
    plan: SearchPlan
    tried: tuple[Tried, ...]
    candidates: tuple[Candidate, ...]
    winner: str
    unrefocused: str | None
    refocused: str | None
    tested: FinalScores
    gain: Difference
    refocusing: Difference | None
    certificate: Certificate
    samples_seen: int
    seconds: float
    preprocessing: str
    hardware: str
    versions: dict[str, str]
    command: str

    def candidate(self, name: str) -> Candidate:
        """Return a candidate by name."""
        return next(one for one in self.candidates if one.name == name)
