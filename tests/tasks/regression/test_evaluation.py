"""The measures of regression are scikit-learn's and torchmetrics'."""

import pytest
import torch
from sklearn import metrics
from torchmetrics.functional import regression as theirs

from refconv.tasks.regression.evaluation import evaluation_of


def test_measures_are_those_of_the_field():
    drawn = torch.Generator().manual_seed(0)
    truth = torch.randn(100, 3, generator=drawn) * torch.tensor([1.0, 10, 100])
    outputs = truth + torch.randn(100, 3, generator=drawn) * torch.tensor([0.5, 3, 150])
    std = torch.tensor([1.0, 10, 100])
    found = evaluation_of(outputs, truth, ("a", "b", "c"), std)
    pair = truth.double().numpy(), outputs.double().numpy()
    assert found.mae == pytest.approx(metrics.mean_absolute_error(*pair))
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(*pair))
    assert found.r2 == pytest.approx(metrics.r2_score(*pair))
    assert found.output_r2["c"] < 0 < found.output_r2["a"]
    assert found.r2 == pytest.approx(theirs.r2_score(outputs, truth).item(), abs=1e-5)
    assert found.mae == pytest.approx(theirs.mean_absolute_error(outputs, truth).item(), abs=1e-4)
    scaled = [(one / std).double().numpy() for one in (truth, outputs)]
    assert found.loss == pytest.approx(metrics.mean_squared_error(*scaled))
    each = metrics.mean_absolute_error(*pair, multioutput="raw_values")
    assert list(found.classes().values()) == pytest.approx(list(each))


def test_unknown_values_count_nowhere_and_what_has_no_value_is_left_out():
    truth = torch.tensor([[1.0, torch.nan, 5], [2, 3, 5], [4, 4, 5]])
    outputs = torch.tensor([[1.5, 9, 4], [2, 3.5, 5], [3, 4, 6]])
    found = evaluation_of(outputs, truth, ("a", "b", "c"), torch.ones(3))
    assert found.output_mae == pytest.approx({"a": 0.5, "b": 0.25, "c": 2 / 3})
    assert found.output_r2["c"] is None
    assert found.r2 == pytest.approx((found.output_r2["a"] + found.output_r2["b"]) / 2)
    nothing = evaluation_of(outputs[:, :1], torch.full((3, 1), torch.nan), ("a",), torch.ones(1))
    assert nothing.measures() == {}
