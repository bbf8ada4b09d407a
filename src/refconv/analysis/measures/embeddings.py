"""Frozen features: what simple classifiers make of them, and which samples lie beside one another.

A sample's features are what the last linear or convolutional layer of the model is given, the mean over positions
where there are any: the embedding that the classifier sees.

Probes. On the features of training samples two classifiers are fitted by scikit-learn: a logistic regression on
features scaled to unit variance, and a vote of the k nearest neighbours by cosine. Their accuracy on other samples says
how well classes can be told apart by what was learned, whatever the model's own classifier does (Razavian et al., arXiv
1403.6382; Wu et al., arXiv 1805.01978, for the vote).

Neighbours. With N_k(i) the k samples nearest to sample i by cosine, itself left out,

    kept = mean over samples of |N_k(i) before and after| / k;

sets drawn at random among n - 1 samples have k / (n - 1) in common.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refconv.analysis import timing
from refconv.analysis.answers import embedded
from refconv.analysis.batches import Batches, Passage, Progress, check_least, observing
from refconv.analysis.timing import timed
from refconv.errors import DataError, SettingError
from refconv.measures.embeddings import Neighbourhood, Neighbours, Probes, ProbeScore


def linear_probes(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches,
    neighbours: int = 20,
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Probes:
    """Train a linear classifier and a vote of neighbours on the frozen features of two models, and test both.

    Args:
        calibration: batches that the classifiers are trained on, of training samples.
        neighbours: that vote at most; fewer where there are fewer training samples.

    Raises:
        DataError: if the training samples are of one class.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> x = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 2]])
        >>> data = [(x, torch.tensor([0, 0, 1, 1]))]
        >>> [score.accuracy for score in linear_probes(model, model, data, calibration=data, neighbours=1).scores]
        [(1.0, 1.0), (1.0, 1.0)]
    """
    check_least(1, neighbours=neighbours)
    begin = timing.clock()
    models = before, after
    with observing(*models), torch.no_grad():
        sides, known = embedded(models, Passage(calibration))
    if len(known.unique()) < 2:
        raise DataError("a probe needs training samples of two classes", found="one class")
    votes = min(neighbours, len(known))
    fitted = [_fitted(known, side, votes) for side in sides]
    if max_seconds is not None and max_seconds > 0:  # fitting does not depend on how many samples are tested
        max_seconds = max(max_seconds - (timing.clock() - begin), sys.float_info.min)
    features = sides[0].shape[1], sides[1].shape[1]
    bounds: dict[str, Any] = {"max_samples": max_samples, "max_seconds": max_seconds, "progress": progress}
    scores, passage = _tested(models, fitted, batches, **bounds)
    return Probes(passage.samples, passage.cut, len(known), features, votes, scores)


@timed(answers=True)
def _tested(
    models: Sequence[nn.Module],
    fitted: Sequence[Mapping[str, Any]],
    batches: Batches,
    *,
    max_samples: int | None,
    max_seconds: float | None = None,
    progress: Progress | None,
) -> tuple[tuple[ProbeScore, ...], Passage]:
    """Return the scores of two models' fitted probes, and the passage through the samples that they were tested on."""
    passage = Passage(batches, max_samples, progress)
    with observing(*models), torch.no_grad():
        sides, targets = embedded(models, passage)
    named = [
        {name: torch.from_numpy(probe.predict(side.numpy())) for name, probe in probes.items()}
        for probes, side in zip(fitted, sides, strict=True)
    ]
    return tuple(_score(name, targets, *(found[name] for found in named)) for name in named[0]), passage


@timed(answers=True)
def nearest_neighbours(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    sizes: Sequence[int] = (1, 5, 10),
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Neighbours:
    """Measure how many nearest neighbours of samples change between the features of two models.

    Args:
        sizes: numbers of neighbours, ascending; larger ones than there are other samples are cut.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.randn(12, 2), torch.arange(12) % 2)]
        >>> [one.kept for one in nearest_neighbours(model, model, data).sets]
        [1.0, 1.0, 1.0]
    """
    for size in sizes:
        check_least(1, sizes=size)
    passage = Passage(batches, max_samples, progress)
    with observing(before, after), torch.no_grad():
        sides, targets = embedded((before, after), passage)
    others = len(targets) - 1
    if others < 1:
        raise DataError("neighbours need other samples", expected="2 samples or more", found="1")
    first, second = (_ordered(side, min(max(sizes), others)) for side in sides)
    sets = []
    for size in dict.fromkeys(min(size, others) for size in sizes):
        common = (first[:, :size, None] == second[:, None, :size]).any(2).double().mean(1)
        sets.append(Neighbourhood(size, float(common.mean()), size / others))
    nearest = _score("nearest neighbours", targets, targets[first[:, 0]], targets[second[:, 0]])
    return Neighbours(passage.samples, passage.cut, tuple(sets), nearest)


def _fitted(known: Tensor, training: Tensor, votes: int) -> dict[str, Any]:
    """Return both probes by their names, fitted to the features of training samples and their classes."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise SettingError("probes need scikit-learn", remedy='pip install "refconv[analysis]"') from error

    probes = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
        "nearest neighbours": KNeighborsClassifier(votes, metric="cosine"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps are enough for a score
        return {name: probe.fit(training.numpy(), known.numpy()) for name, probe in probes.items()}


def _score(name: str, targets: Tensor, first: Tensor, second: Tensor) -> ProbeScore:
    right, then = first == targets, second == targets
    cells = right & then, then & ~right, right & ~then, ~right & ~then
    return ProbeScore(name, *(int(cell.sum()) for cell in cells))


def _ordered(embeddings: Tensor, size: int) -> Tensor:
    """Return the places of the nearest other samples by cosine [samples, size], the nearest first."""
    directions = nn.functional.normalize(embeddings, dim=1)
    likeness = directions @ directions.T
    likeness.fill_diagonal_(-torch.inf)
    return likeness.argsort(dim=1, descending=True, stable=True)[:, :size]
