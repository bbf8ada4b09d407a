"""Sharpness of a quadratic in closed form, and its mean over directions against a trace."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from loss_cases import images, regression, unit_directions
from refconv.analysis.measures.landscape import sharpness, spread
from refconv.errors import ModelError, SettingError
from refconv.measures.sharpness import Sharpness


def test_rise_of_a_quadratic_is_half_of_its_curvature():
    before, batches, H = regression()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.weight.mul_(2)
    found = sharpness(before, after, batches, loss=F.mse_loss, radius=0.3, directions=4)
    length = before.weight.detach().norm()
    expected = [0.3**2 / 2 * float(length**2 * unit @ H @ unit) for unit in unit_directions(4)]
    assert found.before.rise.values == pytest.approx(expected, rel=1e-10)
    assert found.after.rise.values == pytest.approx([4 * rise for rise in expected], rel=1e-10)
    assert found.difference.values == pytest.approx([3 * rise for rise in expected], rel=1e-10)
    assert found.before.rise.deviation == pytest.approx(torch.tensor(expected).double().std().item())
    assert found.before.rise.error == pytest.approx(found.before.rise.deviation / 2)
    assert found.before.centre == found.before.as_is  # no batch norm


def test_mean_rise_is_the_trace_over_the_entries_of_a_filter():
    model, batches, H = regression()
    found = sharpness(model, model, batches, loss=F.mse_loss, radius=0.2, directions=300).before.rise
    expected = 0.2**2 / 2 * float(model.weight.detach().square().sum() * H.trace() / len(H))
    assert abs(found.mean - expected) < 3 * found.error
    assert found.error < 0.05 * expected


def test_a_pair_of_networks_is_measured_left_alone_and_written(trained_pair, state_of):
    state, numbers, seen = state_of(*trained_pair), torch.get_rng_state(), []
    found = sharpness(*trained_pair, images(), directions=2, progress=lambda *now: seen.append(now))
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sharpness(*trained_pair, images(), directions=2) == found
    assert sharpness(*trained_pair, images(), directions=3).before.rise.values[:2] == found.before.rise.values
    assert Sharpness.from_json(found.to_json()) == found
    assert "2 directions, radius 0.1; loss over 16 samples; 1 batch norms recalibrated" in str(found)


def test_the_same_model_has_no_difference(trained_pair):
    found = sharpness(trained_pair[1], trained_pair[1], images(), directions=2)
    assert found.before == found.after
    assert found.difference == spread([0.0, 0.0])


def test_settings_without_meaning_and_losses_that_are_not_finite_are_refused(trained_pair):
    with pytest.raises(SettingError, match="directions: no spread; expected 2 or more, found 1"):
        sharpness(*trained_pair, images(), directions=1)
    with pytest.raises(SettingError, match="radius: not a distance"):
        sharpness(*trained_pair, images(), radius=math.inf)
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1)
    data = [(torch.full((2, 2), 1e38), torch.zeros(2).long())]
    with pytest.raises(ModelError, match="Linear: the loss is not finite; take a smaller radius"):
        sharpness(model, model, data, radius=10)
