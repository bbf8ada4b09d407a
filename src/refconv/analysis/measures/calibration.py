"""Calibration: whether a classifier is right as often as it says it is.

Guo et al., ICML 2017 (arXiv 1706.04599): samples are binned by confidence, the largest softmax output; in a calibrated
model the share of right ones in each bin is the mean confidence there. Over bins of equal width,

    ECE = sum_b (n_b / n) |accuracy_b - confidence_b|,      MCE = max_b |accuracy_b - confidence_b|,

a confidence on a border belonging to the bin below it, as in evaluation. The ECE depends on the bins; two proper scores
that do not stand beside it: the negative log-likelihood and the Brier score sum_c (p_c - [c = y])^2 (0 to 2).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, classify, observing
from refconv.analysis.timing import within
from refconv.errors import SettingError
from refconv.measures.agreement import Calibration, ReliabilityBin


def calibration(
    model: nn.Module,
    batches: Batches,
    *,
    bins: int = 15,
    max_samples: int | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure a classifier's calibration; it is left as found.

    Args:
        model: the classifier.
        batches: samples [batch, channels, ...] as the model expects them, and classes.
        bins: of equal width, from confidence 0 to 1.
        max_samples: samples to stop at.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with samples done and in all.

    Raises:
        DataError: if there are no samples.
        ModelError: if the model does not classify them.
        SettingError: if there is no bin.

    Example:
        >>> model = nn.Linear(1, 2)
        >>> for parameter in model.parameters():
        ...     _ = nn.init.zeros_(parameter)  # both classes at 0.5, the first one named
        >>> found = calibration(model, [(torch.ones(4, 1), torch.tensor([0, 0, 0, 1]))])
        >>> found.accuracy, found.confidence, found.ece, found.brier
        (0.75, 0.5, 0.25, 0.5)
    """
    if max_seconds is not None:
        again = partial(calibration, model, batches, bins=bins)
        return within(max_seconds, again, max_samples, progress)
    if bins < 1:
        raise SettingError("too few", where="bins", expected="1 or more", found=str(bins))
    rows = torch.zeros(3, bins, dtype=torch.float64)  # samples, confidences, hits
    nll = brier = 0.0
    passage = Passage(batches, max_samples, progress)
    with observing(model), torch.no_grad():
        for samples, targets in passage:
            outputs, labels = classify(model, samples, targets), targets.long()
            rows += _binned(outputs, labels, bins).cpu()
            nll += float(F.cross_entropy(outputs, labels, reduction="sum"))
            brier += float((outputs.softmax(1) - F.one_hot(labels, outputs.shape[1])).square().sum())
    counts, confidences, hits = rows
    gaps = (hits - confidences).abs()
    return Calibration(
        samples=passage.samples,
        cut=passage.cut,
        bins=tuple(_bin(place, bins, *row) for place, row in enumerate(rows.T.tolist())),
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


def _bin(place: int, bins: int, count: float, confidence: float, hits: float) -> ReliabilityBin:
    means = (confidence / count, hits / count) if count else (None, None)
    return ReliabilityBin(place / bins, (place + 1) / bins, int(count), *means)
