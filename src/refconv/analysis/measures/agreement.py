"""Agreement: which samples and classes changed sides between two classifiers.

Of n samples, ``gained`` are right only after and ``lost`` right only before. Were the two models equally good, each
changed sample would fall to either side like a coin, so McNemar's exact test (1947, with the binomial in place of its
approximation) asks how surprising the split is:

    p = min(1, 2 P(X <= min(gained, lost))),     X ~ Binomial(gained + lost, 1/2).

It speaks of these two models on other samples of the same kind, and not of other training runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Passage, Progress, check_least, classify, observing
from refconv.analysis.timing import timed
from refconv.errors import ModelError
from refconv.measures.agreement import Agreement, ChangedSample, ClassAgreement


@timed()
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
    """Find which samples and classes changed sides between two classifiers of the same classes.

    The two may be of different architectures.

    Args:
        max_listed: changed samples to name at most.
    """
    check_least(0, max_listed=max_listed)
    parts = []
    passage = Passage(batches, max_samples, progress)
    with observing(before, after), torch.no_grad():
        for samples, targets in passage:
            outputs = [classify(model, samples, targets) for model in (before, after)]
            if outputs[0].shape != outputs[1].shape:
                expected, found = (str(output.shape[1]) for output in outputs)
                problem, remedy = "the two models have different classes", "compare two models of one task"
                raise ModelError(problem, expected=f"{expected} classes", found=found, remedy=remedy)
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
    """Return McNemar's exact two-sided p of samples right only in the second model and only in the first.

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
