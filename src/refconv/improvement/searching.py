"""The search: rounds of runs, each chosen from the one before by the validation split."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

from refconv.errors import RunError
from refconv.improvement.contenders import recipe_of
from refconv.improvement.looking import contender_named
from refconv.improvement.record import Entry, SearchPlan, Tried
from refconv.recipe.recipe import Recipe
from refconv.studies.execution import DIVERGED_FILE, Outcome, is_over, record_of
from refconv.studies.runs import Run, file_name
from refconv.task_measures import measures_of

_TAIL = 3  #: Epochs at whose end the weights of the last two rounds' runs are kept
_BOLD = 10.0  #: Rate of the last round, over the first rate of a contender, where the network has converged
_STEPS_BETWEEN_CHECKPOINTS = 500


class Search:
    """The runs of all rounds: those that are over, that run, and that can start.

    The entries of a round are those of the round before that did best on the validation split; see :func:`promoted`.
    All runs of a round see the same samples in the same order.
    """

    def __init__(self, plan: SearchPlan, out: Path) -> None:
        self.plan, self.out = plan, out
        self.over: list[Run] = []
        self.failures: dict[Path, str] = {}
        self._entries: dict[Path, Entry] = {}
        self._rounds: list[list[Run]] = []
        self._waiting: list[Run] = []
        self._running: list[Run] = []
        self._measure = measures_of(str(plan.recipe["task"])).primary
        self._open(plan.entries)

    @property
    def total(self) -> int:
        """Runs in all."""
        return sum(one.entries for one in self.plan.rounds)

    @property
    def running(self) -> tuple[Run, ...]:
        """What runs now."""
        return tuple(self._running)

    @property
    def finalists(self) -> list[tuple[Entry, Run]]:
        """The runs of the last round that left a result, the best first."""
        return self._told(-1)

    @property
    def earlier(self) -> list[tuple[Entry, Run]]:
        """The same of the round before that; none if there is one round."""
        return self._told(-2)

    def to_do(self) -> Iterator[Run]:
        """Yield every run that is not over, for estimates; those of later rounds with any entries."""
        yield from self._running
        yield from self._waiting
        for number in range(len(self._rounds), len(self.plan.rounds)):
            for entry in self.plan.entries[: self.plan.rounds[number].entries]:
                yield self._run(number, entry)

    def start(self) -> Run | None:
        """Return a run that can start now, which is running from then on; None if there is none at the moment."""
        if not self._waiting:
            return None
        run = self._waiting.pop(0)
        self._running.append(run)
        return run

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Take note that a run has ended; after the last one of a round the next round can start."""
        self._running.remove(run)
        if outcome.state == "failed":
            self.failures[run.folder] = outcome.message
        else:
            self.over.append(run)
        self._go_on()

    def tried(self) -> tuple[Tried, ...]:
        """Return what came of every run so far."""
        return tuple(self._tried(number, run) for number, runs in enumerate(self._rounds, 1) for run in runs)

    def _open(self, entries: tuple[Entry, ...]) -> None:
        runs = [self._run(len(self._rounds), entry) for entry in entries]
        self._entries.update(zip((run.folder for run in runs), entries, strict=True))
        self._rounds.append(runs)
        for run in runs:
            (self.over if is_over(run) else self._waiting).append(run)
        self._go_on()

    def _go_on(self) -> None:
        """Open the next round if this one is over; without a result of it there is no other one."""
        if self._waiting or self._running:
            return
        ranked = self._ranked(self._rounds[-1])
        if not ranked and len(self._rounds) > 1:
            return
        if not ranked:
            failed = "; ".join(self.failures.values())
            found, remedy = (failed, None) if failed else ("all of them diverged", "give a lower --lr, in Python lr")
            raise RunError("no run of the round left a result", where=str(self.out), found=found, remedy=remedy)
        if len(self._rounds) < len(self.plan.rounds):
            entries = [self._entries[run.folder] for run in ranked]
            count = self.plan.rounds[len(self._rounds)].entries
            better = any(self._better(self._tried(0, run).value) for run in ranked)
            self._open(promoted(entries, count) if better else self._bold(entries, count))

    @property
    def _noise(self) -> float:
        """A standard error of the measure of the network as it was, on the validation split; zero if unknown."""
        low, high = self.plan.base.interval or (0.0, 0.0)
        return (high - low) / 4

    def _better(self, value: float | None) -> bool:
        """Return whether a value is better than that of the network as it was beyond noise."""
        sign = 1.0 if self._measure.larger_is_better else -1.0
        return value is not None and sign * (value - self.plan.base.value) > self._noise

    def _bold(self, ranked: list[Entry], count: int) -> tuple[Entry, ...]:
        """Return the finalists where no short run was better than the network as it was.

        It has converged then: small steps leave it where it is, and a short run at large ones ends before it has
        recovered. So the leading contenders go on for longer at a learning rate ten times as high.
        """
        left = {entry.contender for entry in ranked}
        leading = {entry.contender: entry for entry in reversed(self.plan.entries) if entry.contender in left}
        kept = promoted(list(reversed(leading.values())), count)
        return (*(dataclasses.replace(one, lr=_BOLD * one.lr) for one in kept), *ranked)[:count]

    def _told(self, place: int) -> list[tuple[Entry, Run]]:
        """Return the runs of a round, of those that left any result, the best first."""
        found = [ranked for runs in self._rounds if (ranked := self._ranked(runs))]
        return [(self._entries[run.folder], run) for run in found[place]] if len(found) >= -place else []

    def _ranked(self, runs: list[Run]) -> list[Run]:
        """Return the runs with a result, the best first: those with the best measure, within noise, by their loss."""
        sign = -1.0 if self._measure.larger_is_better else 1.0
        found = [(sign * one.value, one.loss, run) for run in runs if (one := self._tried(0, run)).value is not None]
        bound = min((value for value, _, _ in found), default=0.0) + self._noise

        def key(one: tuple[float, float | None, Run]) -> tuple[float, ...]:
            value, loss, _ = one
            return (0.0, loss, value) if value <= bound and loss is not None else (float(value > bound), value)

        return [run for _, _, run in sorted(found, key=key)]

    def _tried(self, number: int, run: Run) -> Tried:
        entry, steps = self._entries[run.folder], run.recipe.epochs * (run.recipe.epoch_steps or 1)
        record = record_of(run)
        if record is None or record.val_last is None:
            path = run.folder / DIVERGED_FILE
            message = path.read_text(encoding="utf-8").strip() if path.is_file() else self.failures.get(run.folder, "")
            return Tried(number, entry, steps, None, message=message)
        end = record.val_last
        return Tried(number, entry, steps, end.measure(self._measure.name), end.measure("loss"))

    def _run(self, number: int, entry: Entry) -> Run:
        common, late = Recipe.from_mapping(self.plan.recipe), number >= len(self.plan.rounds) - 2
        epochs, steps = _cut(self.plan.rounds[number].steps / entry.cost, self.plan.steps_per_epoch)
        recipe = recipe_of(
            contender_named(entry.contender, self.plan),
            common,
            entry.lr / common.lr,
            lr=entry.lr,
            epochs=epochs,
            epoch_steps=steps,
            warmup_epochs=min(common.warmup_epochs, epochs / 10),
            eval_interval=epochs,
            model_ema=True,
            model_ema_decay=min(0.9998, max(0.5, 1 - 10 / (epochs * steps))),
            model_ema_warmup=True,
            snapshots=min(_TAIL, epochs) if late else 0,
            checkpoint_interval=_STEPS_BETWEEN_CHECKPOINTS if steps > 2 * _STEPS_BETWEEN_CHECKPOINTS else 0,
        )
        point = {"lr": entry.lr}
        folder = self.out / f"round-{number + 1}" / entry.contender / file_name(point)
        name = common.model.rpartition(":")[2]
        return Run(
            kind="selection", architecture=name, method=entry.contender, point=point, recipe=recipe, folder=folder
        )


def promoted(ranked: list[Entry], count: int) -> tuple[Entry, ...]:
    """Return the entries that go on: the best ones, with the best one with and without refocusing among them.

    So the two can be compared at equal cost.
    """
    refocused = [entry for entry in ranked if entry.contender.startswith("refocus")]
    others = [entry for entry in ranked if entry not in refocused]
    kept = list(dict.fromkeys([*refocused[:1], *others[:1], *ranked]))[:count]
    return tuple(entry for entry in ranked if entry in kept)


def _cut(steps: float, per_epoch: int) -> tuple[int, int]:
    """Return epochs of equal length and the steps of each, which together are at most ``steps``, or one step."""
    whole = max(1, math.floor(steps))
    epochs = math.ceil(whole / per_epoch)
    return epochs, whole // epochs
