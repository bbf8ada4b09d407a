"""How well embeddings find samples of the same class: recall at k and mean average precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.tasks.evaluation import Evaluation

_QUERIES = 256  # compared at a time with all samples


@dataclass(frozen=True)
class EmbeddingEvaluation(Evaluation):
    """How well samples of a split find others of their class among all others; None where no class has two samples."""

    recall_at_1: float | None  #: share of the samples of whose class one is among the k nearest by cosine similarity
    recall_at_5: float | None
    recall_at_10: float | None
    retrieval_map: float | None  #: mean over samples of the average precision of all others, in order of similarity

    def __str__(self) -> str:
        shown = {"1": self.recall_at_1, "5": self.recall_at_5, "10": self.recall_at_10}
        words = "  ".join(f"recall at {k} {'-' if value is None else f'{value:.2%}'}" for k, value in shown.items())
        mean = "-" if self.retrieval_map is None else f"{self.retrieval_map:.2%}"
        return f"{words}  mAP {mean}  on {self.samples:,} samples"


def evaluation_of(embeddings: Tensor, classes: Tensor) -> EmbeddingEvaluation:
    """Return the evaluation of embeddings [n, size] and classes [n]; samples alone in their class only are found."""
    unit = F.normalize(embeddings.double(), dim=1)
    ranks: list[Tensor] = []  # of the nearest sample of the same class, from 1 on
    precisions: list[Tensor] = []
    for queries in torch.arange(len(unit)).split(_QUERIES):
        similar = unit[queries] @ unit.T
        similar[torch.arange(len(queries)), queries] = -torch.inf  # a sample does not find itself
        order = similar.argsort(dim=1, descending=True, stable=True)[:, :-1]
        hits = classes[order] == classes[queries][:, None]
        asked = hits.any(dim=1)
        hits = hits[asked].double()
        places = torch.arange(1, hits.shape[1] + 1, dtype=torch.float64)
        ranks.append(hits.argmax(dim=1) + 1)
        precisions.append((hits * hits.cumsum(dim=1) / places).sum(dim=1) / hits.sum(dim=1))
    nearest, precision = torch.cat(ranks), torch.cat(precisions)
    if not len(nearest):
        return EmbeddingEvaluation(len(unit), None, None, None, None)
    first, five, ten = ((nearest <= k).double().mean().item() for k in (1, 5, 10))
    return EmbeddingEvaluation(len(unit), first, five, ten, precision.mean().item())
