"""The measures of one logit are scikit-learn's and torchmetrics'."""

import pytest
import torch
from sklearn import metrics
from torchmetrics.functional import classification as theirs

from refconv.tasks.binary.evaluation import evaluation_of


def test_measures_are_those_of_the_field():
    drawn = torch.Generator().manual_seed(0)
    labels = (torch.rand(300, 1, generator=drawn) < 0.3).float()
    outputs = torch.randn(300, 1, generator=drawn) + labels
    found = evaluation_of(outputs, labels)
    truth, scores = labels[:, 0].numpy(), outputs[:, 0].numpy()
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert found.average_precision == pytest.approx(metrics.average_precision_score(truth, scores))
    assert found.average_precision != pytest.approx(metrics.average_precision_score(1 - truth, -scores), abs=0.05)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, scores > 0))
    assert found.f1 == pytest.approx(metrics.f1_score(truth, scores > 0))
    probabilities = outputs[:, 0].sigmoid()
    assert found.auc == pytest.approx(theirs.binary_auroc(probabilities, labels[:, 0].long()).item(), abs=1e-5)
    assert found.loss == pytest.approx(metrics.log_loss(truth, probabilities.numpy()), abs=1e-5)


def test_one_class_alone_has_no_area():
    found = evaluation_of(torch.randn(5, 1), torch.zeros(5, 1))
    assert (found.auc, found.average_precision) == (None, None)
    assert {"accuracy", "loss"} <= found.measures().keys()
    assert "auc" not in found.measures()
