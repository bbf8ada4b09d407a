"""What two classifiers answer, sample by sample: which samples changed sides, and whether confidence means accuracy.

Agreement: of n samples, ``gained`` are right only after and ``lost`` right only before. Were the two models equally
good, each changed sample would fall to either side like a coin, so McNemar's exact test (1947, with the binomial in
place of its approximation) asks how surprising the split is:

    p = min(1, 2 P(X <= min(gained, lost))),     X ~ Binomial(gained + lost, 1/2).

It speaks of these two models on other samples of the same kind, and not of other training runs.

Calibration (Guo et al., ICML 2017, arXiv 1706.04599): samples are binned by confidence, the largest softmax output;
in a calibrated model the share of right ones in each bin is the mean confidence there. Over bins of equal width,

    ECE = sum_b (n_b / n) |accuracy_b - confidence_b|,      MCE = max_b |accuracy_b - confidence_b|,

a confidence on a border belonging to the bin below it. The ECE depends on the bins; two proper scores do not: the
negative log-likelihood and the Brier score sum_c (p_c - [c = y])^2 (0 to 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.answers import scores
from refconv.analysis.batches import Batches, Passage, Progress, check_least, observing
from refconv.analysis.timing import timed
from refconv.errors import ModelError
from refconv.measures.agreement import Agreement, Calibration, ChangedSample, ClassAgreement, ReliabilityBin


@timed(answers=True)
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
        for outputs, targets in scores(passage, before, after):
            if outputs[0].shape != outputs[1].shape:
                expected, found = (str(output.shape[1]) for output in outputs)
                problem, remedy = "the two models have different classes", "compare two models of one task"
                raise ModelError(problem, expected=f"{expected} classes", found=found, remedy=remedy)
            parts.append(torch.stack([targets.long(), *(output.argmax(1) for output in outputs)]).cpu())
    targets, first, second = torch.cat(parts, 1)
    right, then = first == targets, second == targets
    cells = right & then, then & ~right, right & ~then, ~right & ~then
    both_right, gained, lost, both_wrong = (int(cell.sum()) for cell in cells)
    classes = []
    for target in targets.unique():
        members = targets == target
        counted = members, members & right, members & then, members & cells[1], members & cells[2]
        classes.append(ClassAgreement(int(target), *(int(one.sum()) for one in counted)))
    rows = torch.stack([torch.arange(len(targets)), targets, first, second], 1)[first != second]
    changed = [ChangedSample(*row) for row in rows.tolist()]
    changed.sort(key=lambda row: row.target not in {row.before, row.after})
    return Agreement(
        samples=passage.samples,
        cut=passage.cut,
        both_right=both_right,
        gained=gained,
        lost=lost,
        both_wrong=both_wrong,
        same=float((first == second).double().mean()),
        p=mcnemar(gained, lost),
        classes=tuple(classes),
        changed=tuple(changed[:max_listed]),
        listed=min(max_listed, len(changed)) / len(changed) if changed else 1.0,
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p of samples right only in the second model and only in the first.

    Example:
        >>> mcnemar(9, 1) == 2 * (1 + 10) / 2**10
        True
    """
    total = gained + lost
    term = tail = 1
    for k in range(min(gained, lost)):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << total))


@timed(answers=True)
def calibration(
    model: nn.Module,
    batches: Batches,
    *,
    bins: int = 15,
    max_samples: int | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure a classifier's calibration.

    Args:
        bins: of equal width, from confidence 0 to 1.

    Example:
        >>> model = nn.Linear(1, 2)
        >>> for parameter in model.parameters():
        ...     _ = nn.init.zeros_(parameter)  # both classes at 0.5, the first one named
        >>> found = calibration(model, [(torch.ones(4, 1), torch.tensor([0, 0, 0, 1]))])
        >>> found.accuracy, found.confidence, found.ece, found.brier
        (0.75, 0.5, 0.25, 0.5)
    """
    check_least(1, bins=bins)
    rows = torch.zeros(3, bins, dtype=torch.float64)  # samples, confidences, hits
    nll = brier = 0.0
    passage = Passage(batches, max_samples, progress)
    with observing(model), torch.no_grad():
        for (outputs,), targets in scores(passage, model):
            labels = targets.long()
            rows += _binned(outputs, labels, bins).cpu()
            nll += float(F.cross_entropy(outputs, labels, reduction="sum"))
            brier += float((outputs.softmax(1) - F.one_hot(labels, outputs.shape[1])).square().sum())
    counts, confidences, hits = rows
    gaps = (hits - confidences).abs()
    found = []
    for place, (count, confidence, right) in enumerate(rows.T.tolist()):
        means = (confidence / count, right / count) if count else (None, None)
        found.append(ReliabilityBin(place / bins, (place + 1) / bins, int(count), *means))
    return Calibration(
        samples=passage.samples,
        cut=passage.cut,
        bins=tuple(found),
        ece=float(gaps.sum()) / passage.samples,
        mce=float((gaps / counts.clamp(min=1)).max()),
        nll=nll / passage.samples,
        brier=brier / passage.samples,
        accuracy=float(hits.sum()) / passage.samples,
        confidence=float(confidences.sum()) / passage.samples,
    )


def _binned(outputs: Tensor, labels: Tensor, bins: int) -> Tensor:
    """Return, per bin, the number of samples, the sum of confidences and the number of hits, float64 [3, bins]."""
    confidences, classes = outputs.softmax(1).max(1)
    places = (confidences * bins).ceil().long().clamp(1, bins) - 1
    values = torch.stack([torch.ones_like(confidences), confidences, (classes == labels).to(confidences)])
    return torch.zeros(3, bins, dtype=values.dtype, device=values.device).index_add_(1, places, values)
