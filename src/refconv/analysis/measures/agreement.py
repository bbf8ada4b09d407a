"""Agreement: which samples and classes changed sides between two classifiers.

Of n samples, ``gained`` are right only after and ``lost`` right only before. Were the two models equally good, each
changed sample would fall to either side like a coin, so McNemar's exact test (1947, with the binomial in place of its
approximation) asks how surprising the split is:

    p = min(1, 2 P(X <= min(gained, lost))),     X ~ Binomial(gained + lost, 1/2).

It speaks of these two models on other samples of the same kind, and not of other training runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Passage, Progress, classify, observing
from refconv.analysis.timing import within
from refconv.errors import ModelError, SettingError
from refconv.measures.agreement import Agreement, ChangedSample, ClassAgreement


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
