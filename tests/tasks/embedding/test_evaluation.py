"""Retrieval is measured as torchmetrics and pytorch-metric-learning do."""

import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_hit_rate

from refconv.tasks.embedding.evaluation import evaluation_of


def samples(n=60, classes=7):
    drawn = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (n,), generator=drawn)
    return torch.randn(n, 16, generator=drawn) + 1.5 * torch.eye(16)[labels], labels


def test_measures_are_those_of_torchmetrics():
    embeddings, labels = samples()
    found = evaluation_of(embeddings * torch.linspace(0.1, 3, 60)[:, None], labels)  # lengths do not count
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    rows = []
    for query in range(len(labels)):
        others = torch.arange(len(labels)) != query
        scores, truth = (unit @ unit[query])[others] + 1, (labels == labels[query])[others]
        hits = [retrieval_hit_rate(scores, truth, top_k=k) for k in (1, 5, 10)]
        rows.append([*hits, retrieval_average_precision(scores, truth)])
    expected = torch.tensor(rows).mean(dim=0).tolist()
    measured = (found.recall_at_1, found.recall_at_5, found.recall_at_10, found.retrieval_map)
    assert measured == pytest.approx(tuple(expected), abs=1e-6)
    assert 0.2 < found.recall_at_1 < found.recall_at_10 <= 1


def test_a_sample_alone_in_its_class_is_found_but_does_not_search():
    embeddings, labels = samples()
    alone = torch.cat([embeddings, torch.full((1, 16), 100.0)]), torch.cat([labels, torch.tensor([99])])
    found = evaluation_of(*alone)
    assert found.samples == 61
    assert found.recall_at_1 == pytest.approx(evaluation_of(embeddings, labels).recall_at_1, abs=0.05)
    nothing = evaluation_of(embeddings, torch.arange(60))
    assert nothing.measures() == {}
    assert str(nothing).startswith("recall at 1 -")
