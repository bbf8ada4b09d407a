"""The measures of labels are torchmetrics' and scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional import classification as theirs

from refconv.tasks import label_measures
from refconv.tasks.multilabel.evaluation import evaluation_of

NAMES = ("a", "b", "c", "d", "e")


def scores(seed=0, n=200):
    drawn = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 5, generator=drawn) < torch.tensor([0.5, 0.2, 0.05, 0.8, 0.4])).float()
    return torch.randn(n, 5, generator=drawn) + labels, labels


def test_measures_are_those_of_torchmetrics():
    outputs, labels = scores()
    found = evaluation_of(outputs, labels, NAMES)
    probabilities, truth = outputs.sigmoid(), labels.long()
    known = {"num_labels": 5, "average": "macro"}
    ap = theirs.multilabel_average_precision(probabilities, truth, num_labels=5, average="none")
    assert list(found.label_ap.values()) == pytest.approx(ap.tolist(), abs=1e-5)
    assert found.label_map == pytest.approx(ap.mean().item(), abs=1e-5)
    assert found.label_auc == pytest.approx(theirs.multilabel_auroc(probabilities, truth, **known).item(), abs=1e-5)
    assert found.f1_macro == pytest.approx(theirs.multilabel_f1_score(probabilities, truth, **known).item(), abs=1e-6)
    micro = theirs.multilabel_f1_score(probabilities, truth, num_labels=5, average="micro").item()
    assert found.f1_micro == pytest.approx(micro, abs=1e-6)
    assert found.f1_micro != pytest.approx(found.f1_macro, abs=0.01)
    f1 = theirs.multilabel_f1_score(probabilities, truth, num_labels=5, average="none")
    assert list(found.label_f1.values()) == pytest.approx(f1.tolist(), abs=1e-6)


def test_unknown_labels_count_nowhere_and_equal_scores_are_one_threshold():
    outputs, labels = scores(seed=1)
    outputs = outputs.round(decimals=1)  # many ties
    holes = labels.clone()
    holes[torch.rand(200, 5, generator=torch.Generator().manual_seed(2)) < 0.3] = torch.nan
    found = evaluation_of(outputs, holes, NAMES)
    for column, name in enumerate(NAMES):
        known = ~holes[:, column].isnan().numpy()
        truth, given = labels[:, column].numpy()[known], outputs[:, column].numpy()[known]
        assert found.label_ap[name] == pytest.approx(metrics.average_precision_score(truth, given))
        assert found.label_f1[name] == pytest.approx(metrics.f1_score(truth, given > 0))
    known = ~holes.isnan()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs[known].double(), labels[known].double())
    assert found.loss == pytest.approx(loss.item())


def test_a_label_without_a_value_is_left_out_of_the_mean():
    outputs, labels = scores()
    labels[:, 0], labels[:, 1] = 0, 1
    outputs[:, 0] = -1
    found = evaluation_of(outputs, labels, NAMES)
    assert (found.label_ap["a"], found.label_f1["a"]) == (None, None)
    assert found.label_ap["b"] == 1
    assert found.label_map == pytest.approx(np.mean([value for value in found.label_ap.values() if value is not None]))
    auc = [metrics.roc_auc_score(labels[:, i].numpy(), outputs[:, i].numpy()) for i in (2, 3, 4)]
    assert found.label_auc == pytest.approx(np.mean(auc))
    nothing = evaluation_of(outputs, torch.zeros_like(labels), NAMES)
    assert (nothing.label_map, nothing.label_auc) == (None, None)
    assert "label_map" not in nothing.measures()
    assert str(nothing).startswith("mAP -  ")


def test_accuracy_counts_known_labels():
    outputs, labels = scores()
    labels[0] = torch.nan
    expected = metrics.accuracy_score(labels[1:].numpy().ravel() > 0, outputs[1:].numpy().ravel() > 0)
    assert label_measures.accuracy(outputs, labels) == pytest.approx(expected)
