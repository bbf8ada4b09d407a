"""Calibration against sums by hand, with the mistakes one makes shown to differ."""

import math

import pytest
import torch
from torch import nn

from refconv.analysis.measures.outputs import calibration
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.agreement import Calibration


class Given(nn.Module):
    """Says what the samples hold: log-probabilities as outputs."""

    def forward(self, x):
        return x


def data(probabilities, targets):
    return [(torch.tensor(probabilities, dtype=torch.float64).log(), torch.tensor(targets))]


def test_bins_and_errors_by_hand():
    """Bins (0.5, 0.75] with 0.6 right, 0.75 wrong (on the border: below), 0.7 right, and (0.75, 1] with 0.9 wrong."""
    batches = data([[0.6, 0.4], [0.25, 0.75], [0.3, 0.7], [0.9, 0.1]], [0, 0, 1, 1])
    found = calibration(Given(), batches, bins=4)
    assert [row.samples for row in found.bins] == [0, 0, 3, 1]
    assert (found.bins[0].confidence, found.bins[0].accuracy) == (None, None)
    assert (found.bins[2].low, found.bins[2].high) == (0.5, 0.75)
    assert found.bins[2].confidence == pytest.approx(2.05 / 3)
    assert found.bins[2].accuracy == pytest.approx(2 / 3)
    assert found.ece == pytest.approx((abs(2 - 2.05) + 0.9) / 4)
    assert found.mce == pytest.approx(0.9)
    assert found.nll == pytest.approx(-(math.log(0.6) + math.log(0.25) + math.log(0.7) + math.log(0.1)) / 4)
    assert found.brier == pytest.approx(2 * (0.4**2 + 0.75**2 + 0.3**2 + 0.9**2) / 4)
    assert (found.accuracy, found.confidence) == (0.5, pytest.approx(2.95 / 4))
    # bins that do not weigh by samples, and samples by themselves, would say something else
    assert found.ece != pytest.approx((0.05 / 3 + 0.9) / 2)
    assert found.ece != pytest.approx((0.4 + 0.75 + 0.3 + 0.9) / 4)


def test_a_model_right_as_often_as_it_says_is_calibrated():
    found = calibration(Given(), data([[0.75, 0.25]] * 4, [0, 0, 0, 1]))
    assert found.ece == pytest.approx(0, abs=1e-15)
    assert found.mce == pytest.approx(0, abs=1e-15)
    sure = calibration(Given(), data([[1 - 1e-12, 1e-12]] * 4, [0, 0, 0, 1]))
    assert sure.ece == pytest.approx(0.25)
    assert sure.confidence > sure.accuracy


def test_the_error_is_the_one_of_evaluation():
    evaluation = pytest.importorskip("refconv.tasks.classification.evaluation")
    generator = torch.Generator().manual_seed(0)
    outputs, labels = 3 * torch.randn(200, 5, generator=generator), torch.randint(0, 5, (200,), generator=generator)
    found = calibration(Given(), [(outputs, labels)])
    gaps = evaluation.calibration_gaps(outputs, labels)
    assert found.ece == pytest.approx(float(gaps.abs().sum()) / 200, rel=1e-6)


def test_a_real_model_is_measured_alike_however_batched_and_left_alone(trained_pair, state_of):
    model = trained_pair[1]
    generator = torch.Generator().manual_seed(2)
    samples, labels = torch.randn(30, 3, 20, 20, generator=generator), torch.randint(0, 5, (30,), generator=generator)
    state, told = state_of(model), []
    found = calibration(model, [(samples, labels)])
    parts = [(samples[:16], labels[:16].int()), (samples[16:], labels[16:].int())]
    again = calibration(model, lambda: iter(parts), progress=lambda *done: told.append(done))
    assert state.unchanged()
    assert told == [(16, 0), (30, 0)]
    assert [row.samples for row in again.bins] == [row.samples for row in found.bins]
    assert (again.ece, again.nll, again.brier) == pytest.approx((found.ece, found.nll, found.brier))
    assert Calibration.from_json(found.to_json()) == found
    assert "ECE" in str(found)
    told.clear()
    bounded = calibration(model, parts, max_samples=20, progress=lambda *done: told.append(done))
    assert (bounded.samples, bounded.cut, told) == (20, True, [(16, 20), (20, 20)])
    exact = calibration(model, parts, max_samples=30)
    assert (exact.samples, exact.cut) == (30, False)


def test_bad_input_is_refused_in_one_line():
    with pytest.raises(SettingError, match="bins: too few"):
        calibration(Given(), data([[0.5, 0.5]], [0]), bins=0)
    with pytest.raises(DataError, match="no samples"):
        calibration(Given(), lambda: iter(()))
    with pytest.raises(ModelError, match="does not classify"):
        calibration(Given(), [(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))])
    with pytest.raises(DataError, match="no class of the model"):
        calibration(Given(), data([[0.5, 0.5]], [-1]))
