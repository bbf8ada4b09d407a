"""Between two models: a parabola for a quadratic, the models themselves at the ends."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from loss_cases import images, regression
from refconv.analysis.measures.landscape import interpolation
from refconv.errors import ModelError, SettingError
from refconv.measures.landscape import Interpolation


def test_a_quadratic_has_its_parabola_and_no_barrier():
    before, batches, _ = regression()
    after, _, _ = regression(seed=1)
    found = interpolation(before, after, batches, loss=F.mse_loss, points=5)
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        first, last = before(X) - y, after(X) - y  # biases are interpolated too
        expected = [((1 - t) * first + t * last).square().mean().item() for t in found.shares]
    assert found.losses == pytest.approx(expected, rel=1e-12)
    assert (found.before, found.after) == pytest.approx((expected[0], expected[-1]), rel=1e-12)
    assert found.barrier == 0  # convex: the line between the ends lies above
    assert max(found.losses) > min(found.losses)


def test_a_barrier_is_counted_from_the_line_between_the_ends():
    """y = w2 w1 x computes the same with both signs turned, and nothing at all half way."""
    before = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    for parameter in before.parameters():
        nn.init.constant_(parameter, 2.0)
    after = copy.deepcopy(before)
    nn.init.constant_(after[0].weight, -2.0)
    nn.init.constant_(after[1].weight, -2.5)
    data = [(torch.ones(1, 1).double(), torch.full((1, 1), 4.0).double())]
    found = interpolation(before, after, data, loss=F.mse_loss, points=5)
    losses = [((2 - 4 * t) * (2 - 4.5 * t) - 4) ** 2 for t in found.shares]
    assert found.losses == pytest.approx(losses, abs=1e-12)
    expected = max(loss - t * 1 for t, loss in zip(found.shares, losses, strict=True))  # L(0) = 0, L(1) = 1
    assert found.barrier == pytest.approx(expected)
    assert found.barrier != pytest.approx(max(losses) - 1)  # from the higher end


def test_a_pair_of_networks_is_measured_left_alone_and_written(trained_pair, state_of):
    state, seen = state_of(*trained_pair), []
    found = interpolation(*trained_pair, images(), points=3, progress=lambda *now: seen.append(now))
    assert state.unchanged()
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert Interpolation.from_json(found.to_json()) == found
    assert interpolation(*reversed(trained_pair), images(), points=3).losses == pytest.approx(found.losses[::-1])
    assert found.losses[0] != found.before  # recalibrated, and as it is
    assert "before, as it is" in str(found)


def test_losses_that_are_not_finite_leave_the_barrier_open():
    before, after = nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.constant_(before.weight, 1)
    nn.init.constant_(after.weight, 1)
    data = [(torch.full((2, 2), 1e38), torch.zeros(2).long())]
    with torch.no_grad():
        after.weight[0] = 1e10
    with pytest.raises(ModelError, match="the model's loss is not finite"):
        interpolation(before, after, data)
    found = Interpolation((0.0, 1.0), (1.0, None), 1.0, 1.0, None, interpolation(before, before, data).conditions)
    assert Interpolation.from_json(found.to_json()) == found
    assert "barrier -" in str(found)


def test_two_points_are_refused(trained_pair):
    with pytest.raises(SettingError, match="points: nothing between the ends; expected 3 or more, found 2"):
        interpolation(*trained_pair, images(), points=2)
