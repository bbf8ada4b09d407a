"""How well a model does on a split, kept so that two models can be compared on the same samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from refconv.data import Batch, Split
from refconv.engine.setup import Setup
from refconv.measures.judging import paired_difference, wilson
from refconv.records import Record
from refconv.surgery import evaluating
from refconv.task_measures import TASKS, Measure, measures_of
from refconv.tasks.evaluation import autocasting
from refconv.tasks.task import EvaluationRun

_FEWEST_BLOCKS = 10  #: Parts of a small split, which is evaluated in smaller batches for them
BLOCKS = 20  #: Parts of a split, of equal numbers of batches, over which measures that are no means over samples vary


@dataclass(frozen=True)
class Score(Record):
    """How well a model does on a split."""

    measure: str  #: the name of the task's primary measure
    value: float  #: its value on the whole split
    samples: int  #: samples of the split
    loss: float | None = None  #: mean loss; None where evaluation has none
    hits: str = ""  #: of a classifier: ``1`` or ``0`` for each sample, in the order of the split
    losses: tuple[float, ...] = ()  #: of a classifier: the loss of each sample
    blocks: tuple[float, ...] = ()  #: of other models: the measure on each of up to :data:`BLOCKS` parts of the split

    @property
    def about(self) -> Measure:
        """The measure."""
        return next(one for task in TASKS if (one := measures_of(task).primary).name == self.measure)

    @property
    def finite(self) -> bool:
        """Whether the value and the loss are finite numbers."""
        return math.isfinite(self.value) and math.isfinite(self.loss or 0.0)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the value: Wilson's of a share, Student's over blocks; None with too few blocks."""
        if self.hits:
            return wilson(self.hits.count("1"), self.samples)
        half = _half_width(self.blocks)
        return None if half is None else (self.value - half, self.value + half)

    def __str__(self) -> str:
        bounds = self.interval
        between = "" if bounds is None else f" ({self.about.shown(bounds[0])} to {self.about.shown(bounds[1])})"
        return f"{self.about.label} {self.about.said(self.value)}{between}"


@dataclass(frozen=True)
class Difference(Record):
    """How much better a second model is than a first on the same samples, in the direction of improvement."""

    value: float  #: of the measure; positive where the second is better
    #: lower bound of the 95 % interval: Newcombe's for paired shares, Student's over blocks; None if unknown
    low: float | None
    high: float | None  #: upper bound
    p: float | None  #: McNemar's exact p, or that of the paired t test over blocks
    error: float  #: standard error
    #: how much lower the mean loss of the second is, in standard errors; None where there is none
    loss: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def beyond_noise(self) -> bool:
        """Whether the second is better by more than a standard error."""
        return self.value > self.error


def difference(first: Score, second: Score) -> Difference:
    """Return how much better the second model is."""
    sign = 1.0 if first.about.larger_is_better else -1.0
    if first.hits:
        pairs = list(zip(first.hits, second.hits, strict=True))
        both, gained, lost = (pairs.count(kind) for kind in (("1", "1"), ("0", "1"), ("1", "0")))
        n = len(pairs)
        found = paired_difference(both, gained, lost, n - both - gained - lost)
        error = math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 1.0)) / n  # at least that of one sample
        return Difference(found.difference, found.low, found.high, found.p, error, _lower(first, second))
    changes = [sign * (b - a) for a, b in zip(first.blocks, second.blocks, strict=True)]
    value, half = sign * (second.value - first.value), _half_width(changes)
    spread = len(changes) > 1 and max(changes) > min(changes)
    error = stats.sem(changes) if spread else math.inf
    p = float(stats.ttest_1samp(changes, 0.0).pvalue) if spread else None
    low, high = (None, None) if half is None else (value - half, value + half)
    return Difference(value, low, high, p, float(error))


def score(model: nn.Module, setup: Setup, split: Split) -> Score:
    """Evaluate a plain model on a split."""
    model.to(setup.processes.device)
    return (_of_classifier if setup.task.name == "classification" else _in_blocks)(model, setup, split)


def _of_classifier(model: nn.Module, setup: Setup, split: Split) -> Score:
    hits: list[bool] = []
    losses: list[float] = []
    autocast = autocasting(setup.processes.device, setup.recipe.amp)
    with evaluating(model), torch.no_grad():
        for inputs, labels in setup.data.eval_batches(split, batch_size=_batch_size(setup)):
            with autocast():
                outputs = setup.task.outputs(model, setup.placed(inputs), setup.data.info).float().cpu()
            hits += (outputs.argmax(dim=1) == labels).tolist()
            losses += [round(loss, 5) for loss in F.cross_entropy(outputs, labels, reduction="none").tolist()]
    text = "".join("1" if hit else "0" for hit in hits)
    n = len(hits)
    return Score(setup.task.primary, sum(hits) / n, n, math.fsum(losses) / n, hits=text, losses=tuple(losses))


def _in_blocks(model: nn.Module, setup: Setup, split: Split) -> Score:
    found, name = setup.evaluate(model, split), setup.task.primary
    size = min(_batch_size(setup), math.ceil(setup.data.size_of(split) / _FEWEST_BLOCKS))
    batches = math.ceil(setup.data.size_of(split) / size)
    run = EvaluationRun(
        setup.data, split, setup.processes.device, setup.processes,
        autocasting(setup.processes.device, setup.recipe.amp), setup.placed,
    )  # fmt: skip
    blocks = _parts(setup.data.eval_batches(split, batch_size=size), math.ceil(batches / BLOCKS))
    with evaluating(model), torch.no_grad():
        parts = [setup.task.evaluate_batches(model, block, run).measures() for block in blocks]
    values = [measures.get(name, math.nan) for measures in parts]
    known = tuple(value for value in values if not math.isnan(value))
    measures = found.measures()
    return Score(name, measures.get(name, math.nan), found.samples, measures.get("loss"), blocks=known)


def _batch_size(setup: Setup) -> int:
    return setup.recipe.validation_batch_size or max(setup.shares)


def _parts(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while part := list(itertools.islice(batches, size)):
        yield part


def _half_width(values: tuple[float, ...] | list[float]) -> float | None:
    """Return half of the 95 % Student interval of a mean; None with fewer than five values."""
    if len(values) < 5:
        return None
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def _lower(first: Score, second: Score) -> float | None:
    changes = torch.tensor(first.losses, dtype=torch.float64) - torch.tensor(second.losses, dtype=torch.float64)
    error = float(changes.std()) / math.sqrt(len(changes)) if len(changes) > 1 else 0.0
    return float(changes.mean()) / error if error else None
