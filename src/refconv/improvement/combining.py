"""Weights among which the result is chosen: of single runs, and means over runs that share a start.

Networks trained further from one base lie in one basin, so the mean of their weights is a network as well, often a
better one (Wortsman et al. 2022, arXiv 2203.05482). The greedy soup takes the candidates from the best one on and keeps
each that makes the mean better on the validation split. The network as it was is an ingredient, too (Wortsman et al.
2022, arXiv 2109.01903). Statistics of batch norms are averaged like weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv.engine.setup import Setup
from refconv.improvement.record import Candidate, Entry
from refconv.improvement.scoring import Score, difference, score
from refconv.models.run_folder import RunFolder
from refconv.models.weight_files import read_weights
from refconv.surgery import plain_state_dict
from refconv.tasks.evaluation import autocasting

State = Mapping[str, Tensor]
BASE = "the network as it was"
_STATISTICS_SAMPLES = 2048  #: Training samples on which batch-norm statistics are recomputed


class Pool:
    """The candidates and their weights."""

    def __init__(self, setup: Setup, base: Score, say: Callable[[str], None]) -> None:
        self._setup, self._say = setup, say
        self._model = setup.spec.build()
        self._states: dict[str, State] = {}
        self.candidates: dict[str, Candidate] = {}
        self.put(Candidate(BASE, (), "base", -1, refocused=False, score=base), _held(setup.model))

    def put(self, candidate: Candidate, state: State) -> None:
        """Add a candidate."""
        self.candidates[candidate.name], self._states[candidate.name] = candidate, state

    def model(self, name: str) -> nn.Module:
        """Return a model with the weights of a candidate; the next call changes the same one."""
        return self._loaded(self._states[name])

    def state(self, name: str) -> State:
        """Return the weights of a candidate."""
        return self._states[name]

    def add_run(self, entry: Entry, folder: Path, complexity: float, which: str = "") -> Candidate:
        """Add the weights of a run: its moving average, its last ones, and the mean of its last epochs."""
        run = RunFolder(folder)
        kept = [read_weights(path, snapshot=True) for path in sorted(run.snapshots_folder.glob("*.pth"))]
        variants: dict[str, State] = {"average": read_weights(run.model_folder)}
        if kept:
            variants["last"] = kept[-1]
        if len(kept) > 1:
            variants["tail"] = mean(kept)
        refocused, found, title = entry.contender.startswith("refocus"), [], f"{entry}{which and f' ({which})'}"
        for kind, state in variants.items():
            name = f"{title}, {_KINDS[kind]}"
            own = Candidate(name, (title,), kind, complexity, refocused, self._score(state))
            self.put(own, state)
            self._say(f"{name}: {own.score}")
            found.append(own)
        return ordered(found)[0]

    def add_soups(self, singles: Sequence[Candidate]) -> None:
        """Add the greedy soup of all candidates, and of those that were not refocused, as far as they differ."""
        self._add_soup([one for one in singles if not one.refocused])
        if any(one.refocused for one in singles):
            self._add_soup(singles)

    def _add_soup(self, singles: Sequence[Candidate]) -> None:
        """Add the greedy soup of some candidates and the network as it was, if it has more than one ingredient."""
        first, *rest = ordered([*singles, self.candidates[BASE]])
        chosen, best = [first], first.score
        for one in rest:
            trial = self._score(mean([self._states[each.name] for each in (*chosen, one)]))
            if _key(trial) < _key(best):
                chosen, best = [*chosen, one], trial
        members = tuple(sorted({member for one in chosen for member in one.members}))
        with_base = ["the network as it was"] if any(not one.members for one in chosen) else []
        name = f"mean of {' and '.join([*members, *with_base])}"
        if len(chosen) < 2 or name in self.candidates:
            return
        complexity = max(one.complexity for one in chosen)
        state, refocused = mean([self._states[one.name] for one in chosen]), any(one.refocused for one in chosen)
        self.put(Candidate(name, members, "soup", complexity, refocused, best), state)
        self._say(f"{name}: {best}")
        anew = self._with_statistics(state)
        if anew is not None:
            name = f"{name}, statistics recomputed"
            own = Candidate(name, members, "statistics", complexity, refocused, self._score(anew))
            self.put(own, anew)
            self._say(f"{name}: {own.score}")

    def _score(self, state: State) -> Score:
        return score(self._loaded(state), self._setup, "val")

    def _loaded(self, state: State) -> nn.Module:
        self._model.load_state_dict(state, strict=True)
        return self._model.eval()

    @torch.no_grad()
    def _with_statistics(self, state: State) -> State | None:
        """Return weights with the statistics of batch norms taken anew from training samples; None without any.

        Detectors take their losses from targets in training mode, and keep the statistics that they have.
        """
        model = self._loaded(state).to(self._setup.processes.device)
        norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.running_mean is not None]
        if not norms or self._setup.task.name == "detection":
            return None
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        size = self._setup.part_size
        autocast = autocasting(self._setup.processes.device, self._setup.recipe.amp)
        for inputs, _ in itertools.islice(self._batches(size), max(1, _STATISTICS_SAMPLES // size)):
            with autocast():
                model(self._setup.placed(inputs))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        return {name: value.detach().cpu().clone() for name, value in model.eval().state_dict().items()}

    def _batches(self, size: int) -> Iterator[tuple[object, object]]:
        return self._setup.data.train_batches(seed=self._setup.recipe.seed, epoch=0, batch_size=size)


def _held(model: nn.Module) -> State:
    """Return the plain weights of a model as files hold them: on the CPU, apart from the model."""
    state = plain_state_dict(model).items()
    return {name: value.detach().cpu().clone() if isinstance(value, Tensor) else value for name, value in state}


_KINDS = {"average": "moving average", "last": "last weights", "tail": "mean of the last epochs"}


def mean(states: Sequence[State]) -> State:
    """Return the mean of some weights, in float64 and then in their own dtype; whole numbers are those of the first."""
    first = states[0]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in first.items()
    }  # fmt: skip


def ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, the best on the validation split first: by the measure, and by the loss among equals."""
    return sorted(candidates, key=lambda one: _key(one.score))


def chosen(candidates: Sequence[Candidate]) -> Candidate:
    """Return the network as it was, which comes first, unless the best candidate is better beyond noise.

    It is given up for a measure that is better by two standard errors of the paired difference, since one is exceeded
    by chance too often where the best of many candidates is taken; or for one that is better at all, with a mean loss
    that is lower by two standard errors. Among the candidates within a standard error of the best one (the rule of
    Breiman et al. 1984, 3.4.3) the loss decides, which tells smaller differences apart, and within a standard error of
    the lowest loss simplicity. A mean of runs is as simple as the runs.
    """
    base, *trained = candidates
    best = ordered(trained)[0] if trained else base
    gain = difference(base.score, best.score)
    if not (gain.value > 2 * gain.error or (gain.value > 0 and gain.loss is not None and gain.loss > 2)):
        return base
    better = [one for one in trained if difference(base.score, one.score).value > 0]
    near = [one for one in better if not difference(one.score, best.score).beyond_noise]
    finest = min(near, key=lambda one: one.score.loss or 0.0)
    within = [one for one in near if (difference(one.score, finest.score).loss or 0.0) <= 1]
    return min(within, key=lambda one: (one.complexity, *_key(one.score)))


def _key(found: Score) -> tuple[float, float]:
    sign = -1.0 if found.about.larger_is_better else 1.0
    return (sign * found.value, found.loss or 0.0)
