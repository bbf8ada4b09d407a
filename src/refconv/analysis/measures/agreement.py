"""Agreement: which samples and classes changed sides between two classifiers.

Of n samples, ``gained`` are right only after and ``lost`` right only before. Were the two models equally good, each
changed sample would fall to either side like a coin, so McNemar's exact test (1947, with the binomial in place of its
approximation) asks how surprising the split is:

    p = min(1, 2 P(X <= min(gained, lost))),     X ~ Binomial(gained + lost, 1/2).

It speaks of these two models on other samples of the same kind, and not of other training runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Passage, Progress, classify, observing
from refconv.analysis.tables import text_table
from refconv.analysis.timing import within
from refconv.errors import ModelError, SettingError
from refconv.records import Record

SHOWN = 10
"""Rows of classes in the text."""


@dataclass(frozen=True)
class ChangedSample(Record):
    """A sample that two models put into different classes.

    Attributes:
        place: its number in the data, from 0.
        target: its class.
        before: the first model's class.
        after: the second's.
    """

    place: int
    target: int
    before: int
    after: int


@dataclass(frozen=True)
class ClassAgreement(Record):
    """How the samples of one class changed sides.

    Attributes:
        target: the class.
        samples: how many it has.
        before: how many of them the first model gets right.
        after: how many the second.
        gained: right only after.
        lost: right only before.
    """

    target: int
    samples: int
    before: int
    after: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Agreement(Record):
    """Where two classifiers agree.

    Attributes:
        samples: how many were classified.
        cut: whether there were more that ``max_samples`` left out.
        both_right: how many both models get right.
        gained: right only after.
        lost: right only before.
        both_wrong: right in neither.
        same: share of samples put into the same class, right or wrong, 0 to 1.
        p: McNemar's exact two-sided p; 1 if no sample changed sides.
        classes: a row per class that occurs.
        changed: samples whose class differs between the models, in the order in which they came: all that gained or
            lost first, then those wrong in both; at most ``max_listed``.
        listed: how many of all such samples ``changed`` holds, 0 to 1; 1 if there are none.
    """

    samples: int
    cut: bool
    both_right: int
    gained: int
    lost: int
    both_wrong: int
    same: float
    p: float
    classes: tuple[ClassAgreement, ...]
    changed: tuple[ChangedSample, ...]
    listed: float

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of samples classified rightly, before and after."""
        return (self.both_right + self.lost) / self.samples, (self.both_right + self.gained) / self.samples

    def __str__(self) -> str:
        most = sorted(self.classes, key=lambda row: (-row.gained - row.lost, row.target))[:SHOWN]
        rows = [
            (
                str(row.target),
                f"{row.samples:,}",
                f"{row.before:,} -> {row.after:,}",
                f"{row.gained:,}",
                f"{row.lost:,}",
            )
            for row in most
        ]
        table = text_table(("class", "samples", "right", "gained", "lost"), rows)
        left = len(self.classes) - len(most)
        before, after = self.accuracy
        return (
            f"{table}\n{f'and {left} more classes' + chr(10) if left else ''}"
            f"accuracy {before:.2%} -> {after:.2%}: {self.gained:,} gained, {self.lost:,} lost, "
            f"McNemar's exact p = {self.p:.2g}; same class for {self.same:.1%} "
            f"of {self.samples:,} samples{' of more' if self.cut else ''}"
        )


def agreement(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    max_samples: int | None = None,
    max_seconds: float | None = None,
    max_listed: int = 1000,
    progress: Progress | None = None,
) -> Agreement:
    """Find which samples and classes changed sides between two classifiers; both are left as found.

    Args:
        before: the first classifier.
        after: the second, of the same classes; it may be of another architecture.
        batches: samples [batch, channels, ...] as both models expect them, and classes.
        max_samples: samples to stop at.
        max_seconds: take fewer samples, as many as this time allows.
        max_listed: changed samples to name at most.
        progress: called with samples done and in all.

    Raises:
        DataError: if there are no samples.
        ModelError: if a model does not classify them, or the two have different numbers of classes.
        SettingError: if ``max_listed`` is negative.
    """
    if max_seconds is not None:
        again = partial(agreement, before, after, batches, max_listed=max_listed)
        return within(max_seconds, again, max_samples, progress)
    if max_listed < 0:
        raise SettingError("too few", where="max_listed", expected="0 or more", found=str(max_listed))
    parts = []
    passage = Passage(batches, max_samples, progress)
    with observing(before, after), torch.no_grad():
        for samples, targets in passage:
            outputs = [classify(model, samples, targets) for model in (before, after)]
            if outputs[0].shape != outputs[1].shape:
                raise ModelError(
                    "the two models have different classes",
                    expected=f"{outputs[0].shape[1]} classes",
                    found=f"{outputs[1].shape[1]}",
                    remedy="compare two models of one task",
                )
            parts.append(torch.stack([targets.long(), *(output.argmax(1) for output in outputs)]).cpu())
    targets, first, second = torch.cat(parts, 1)
    right, then = first == targets, second == targets
    gained, lost = int((then & ~right).sum()), int((right & ~then).sum())
    changed = _changed(targets, first, second)
    return Agreement(
        samples=passage.samples,
        cut=passage.cut,
        both_right=int((right & then).sum()),
        gained=gained,
        lost=lost,
        both_wrong=int((~right & ~then).sum()),
        same=float((first == second).double().mean()),
        p=mcnemar(gained, lost),
        classes=tuple(_of_class(int(c), targets == c, right, then) for c in targets.unique()),
        changed=tuple(changed[:max_listed]),
        listed=min(max_listed, len(changed)) / len(changed) if changed else 1.0,
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p.

    Args:
        gained: samples right only in the second model.
        lost: samples right only in the first.

    Example:
        >>> mcnemar(9, 1) == 2 * (1 + 10) / 2**10
        True
        >>> mcnemar(0, 0), mcnemar(5, 5)
        (1.0, 1.0)
    """
    total = gained + lost
    term = tail = 1
    for k in range(min(gained, lost)):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << total))


def _changed(targets: Tensor, first: Tensor, second: Tensor) -> Sequence[ChangedSample]:
    rows = torch.stack([torch.arange(len(targets)), targets, first, second], 1)[first != second]
    found = [ChangedSample(*row) for row in rows.tolist()]
    return sorted(found, key=lambda row: row.target not in {row.before, row.after})


def _of_class(target: int, members: Tensor, right: Tensor, then: Tensor) -> ClassAgreement:
    counts = (members, members & right, members & then, members & then & ~right, members & right & ~then)
    return ClassAgreement(target, *(int(count.sum()) for count in counts))
