"""Similarity of representations: linear CKA between the layers of two models.

Kornblith et al., ICML 2019 (arXiv 1905.00414), with the unbiased estimate over minibatches of Nguyen et al., ICLR 2021
(arXiv 2010.15327). A layer's features over a batch of n samples, [n, p] with every position of every channel a column,
have the Gram K = X X^T. With U(K) its U-centred form (Szekely and Rizzo 2014): zero on the diagonal, elsewhere

    U(K)[i, j] = K[i, j] - r[i] / (n - 2) - r[j] / (n - 2) + s / ((n - 1)(n - 2)),

r and s the sums of K's rows and of all of K, its diagonal left out, <U(K), U(L)> / (n (n - 3)) is the unbiased HSIC of
Song et al. 2012, and summed over batches

    CKA = sum <U(K), U(L)> / sqrt(sum <U(K), U(K)> sum <U(L), U(L)>),

from -1 to 1. It is 1 for features that differ by a rotation and one scale, and 0 on average for independent ones,
however many features there are; the usual biased estimate is near 1 for any two layers with more features than samples.

Note [Why not pytorch-cka]: it moves models to another device of its own accord, sets back the mode of the outermost
module only, cuts negative estimates off, and takes differences of sums over Grams that are not centred, in single
precision, where features that vary little about a large mean are lost. The tests compare with its HSIC.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.batches import Batches, Passage, Progress, check_least, check_same, observing, run
from refconv.analysis.timing import timed
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import LayerSimilarity, Similarity
from refconv.measures.tables import mean

FEWEST = 4  # samples of a batch: the unbiased estimate does not exist for fewer
_MOST = 128  # samples whose Gram is taken at once: its cost grows with their square
_COLUMNS = 2**20  # numbers of a layer's features that are in double precision at a time
_CONSTANT = 1e-20  # share of a layer's square sum under which what varies between samples is rounding


@timed()
def similarity(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    layers: Sequence[str] | None = None,
    max_samples: int | None = 512,
    max_seconds: float | None = None,
    max_matrix: int = 64,
    progress: Progress | None = None,
) -> Similarity:
    """Measure how alike the features of two models with modules of the same names are, layer by layer.

    Batches of more than 128 samples are taken in parts; parts of fewer than 4 are left out. Targets do not matter.

    Args:
        layers: names or globs of modules; by default all convolutions and linear layers.
        max_matrix: layers in the matrix at most.

    Example:
        >>> model, data = nn.Linear(3, 2), [(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))]
        >>> round(similarity(model, model, data).layers[0].cka, 6)
        1.0
    """
    check_least(1, max_matrix=max_matrix)
    passage = Passage(batches, max_samples, progress)
    with observing(before, after), torch.no_grad():
        names = _same_layers(before, after, layers)
        products = _Products(names)
        for samples, _ in passage:
            for part in samples.tensor_split(math.ceil(len(samples) / _MOST)):
                if len(part) >= FEWEST:
                    products.add((before, after), part)
    if not products.samples:
        raise DataError("CKA needs larger batches", expected=f"{FEWEST} samples or more", found="fewer in each batch")
    places = [place for place, name in enumerate(names) if name not in products.left_out]
    matrix = products.cka()
    labels = [name or "(the model itself)" for name in names]
    rows = tuple(LayerSimilarity(labels[place], matrix[place][place]) for place in places)
    count = min(len(places), max_matrix)
    chosen = [places[round(i * (len(places) - 1) / max(1, count - 1))] for i in range(count)]
    return Similarity(
        samples=products.samples,
        cut=passage.cut,
        layers=rows,
        mean=mean([row.cka for row in rows]),
        matrix_layers=tuple(labels[place] for place in chosen),
        matrix=tuple(tuple(matrix[row][column] for column in chosen) for row in chosen),
        left_out=products.left_out,
    )


class _Products:
    """The sums of inner products of two models' centred Grams, over batches."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.samples = list(names), 0
        self.left_out: dict[str, str] = {}
        self.cross = torch.zeros(len(names), len(names), dtype=torch.float64)
        self.own = torch.zeros(2, len(names), dtype=torch.float64)

    def add(self, models: Sequence[nn.Module], samples: Tensor) -> None:
        """Add a batch, of which both models give the features."""
        grams = [_grams(model, samples, self.names, self.left_out) for model in models]
        places = [place for place, name in enumerate(self.names) if name not in self.left_out]
        if places:
            rows = [torch.stack([centred_gram(of[self.names[i]]).reshape(-1) for i in places]) for of in grams]
            index = torch.tensor(places)
            self.cross[index[:, None], index] += (rows[0] @ rows[1].T).cpu()
            for own, values in zip(self.own, rows, strict=True):
                own[index] += values.square().sum(1).cpu()
        self.samples += len(samples)

    def cka(self) -> list[list[float | None]]:
        """The matrix [layers, layers]."""
        first, second = (own.sqrt().tolist() for own in self.own)
        rows = zip(self.cross.tolist(), first, strict=True)
        return [[one / (x * y) if x * y > 0 else None for one, y in zip(row, second, strict=True)] for row, x in rows]


def centred_gram(gram: Tensor) -> Tensor:
    """Return the U-centred form of a symmetric Gram [n, n], n > 3: inner products over n (n - 3) are unbiased HSICs."""
    count = len(gram)
    hollow = gram - gram.diagonal().diag()
    rows = hollow.sum(1) / (count - 2)
    centred = hollow - rows[:, None] - rows + hollow.sum() / ((count - 1) * (count - 2))
    return centred - centred.diagonal().diag()


def _grams(model: nn.Module, samples: Tensor, names: Sequence[str], left_out: dict[str, str]) -> dict[str, Tensor]:
    """Return the Gram of each layer's features over a batch; outputs of several calls add up.

    Layers that have none are added to those left out, with the reason.
    """
    found: dict[str, Tensor] = {}
    modules = dict(model.named_modules())

    def take(name: str, output: Any) -> None:
        features = output[0] if isinstance(output, (tuple, list)) and output else output
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(samples):
            left_out[name] = "its output has no row per sample"
        if name in left_out:
            return
        gram = _gram(features.flatten(1))
        if not bool(torch.isfinite(gram).all()):
            raise ModelError("the features are not finite", where=name, remedy="check the model and its data")
        found[name] = found[name] + gram if name in found else gram

    with ExitStack() as stack:
        for name in names:
            handle = modules[name].register_forward_hook(lambda _, __, output, name=name: take(name, output))
            stack.callback(handle.remove)
        run(model, samples)
    left_out |= {name: "it does not run" for name in names if name not in {*found, *left_out}}
    return found


def _gram(features: Tensor) -> Tensor:
    """Return the Gram [n, n] of centred features [n, p] in float64; zeros where they do not vary."""
    gram = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    power = 0.0
    for part in features.split(max(1, _COLUMNS // len(features)), dim=1):
        values = part.double()
        power += float(values.square().sum())
        values = values - values.mean(0)
        gram += values @ values.T
    return gram if float(gram.trace()) > _CONSTANT * power else torch.zeros_like(gram)


def _same_layers(before: nn.Module, after: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    first, second = (_layers(model, patterns) for model in (before, after))
    check_same(dict.fromkeys(first), dict.fromkeys(second), "layers", ", or name layers that both have")
    if not first:
        raise ModelError("the model has no layer to compare", expected="convolutions or linear layers")
    return first


def _layers(model: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    if patterns is None:
        return [name for name, module in model.named_modules() if isinstance(module, (_ConvNd, nn.Linear))]
    names = [name for name, _ in model.named_modules()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SettingError("the pattern matches no layer", where="layers", found=repr(pattern))
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
