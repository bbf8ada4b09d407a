"""The landscape of a quadratic is a parabola; that of a network is the same twice, and ends at the model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from loss_cases import images, regression, unit_directions
from networks import EveryKind
from refconv.analysis.measures.landscape import loss_line, loss_surface
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.landscape import LossLine, LossSurface


def test_line_of_a_quadratic_is_its_parabola():
    before, batches, H = regression()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.weight.mul_(3)
    line = loss_line(before, after, batches, loss=F.mse_loss, radius=0.5, points=5, seed=0)
    (unit,) = unit_directions(1)
    for model, found in ((before, line.before), (after, line.after)):
        d = unit * model.weight.detach().norm()  # the same pattern, in units of this model's filter
        X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        g = 2 / len(X) * X.T @ (model(X) - y)[:, 0].detach()
        expected = [found.as_is + x * float(g @ d) + x * x / 2 * float(d @ H @ d) for x in line.distances]
        assert found.as_is == pytest.approx(F.mse_loss(model(X), y).item(), rel=1e-12)
        assert found.losses == pytest.approx(expected, rel=1e-12)
    assert line.distances == (-0.5, -0.25, 0, 0.25, 0.5)


def test_surface_of_a_quadratic_has_the_mixed_term_and_the_lines_in_it():
    model, batches, H = regression()
    surface = loss_surface(model, model, batches, loss=F.mse_loss, radius=1, points=3)
    first, second = (unit * model.weight.detach().norm() for unit in unit_directions(2))
    losses = surface.before.losses
    mixed = (losses[2][2] - losses[2][0] - losses[0][2] + losses[0][0]) / 4
    assert mixed == pytest.approx(float(first @ H @ second), rel=1e-10)
    line = loss_line(model, model, batches, loss=F.mse_loss, radius=1, points=3)
    assert tuple(row[1] for row in losses) == line.before.losses  # rows go along the first direction
    assert losses[1][1] == surface.before.as_is
    assert surface.after == surface.before


def test_a_pair_of_networks_is_measured_left_alone_and_written(trained_pair, state_of):
    state, numbers, seen = state_of(*trained_pair), torch.get_rng_state(), []
    line = loss_line(*trained_pair, images(), points=5, progress=lambda done, total: seen.append((done, total)))
    surface = loss_surface(*trained_pair, images(), points=3)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert seen == [(done, 10) for done in range(1, 11)]
    assert loss_line(*trained_pair, images(), points=5) == line
    assert loss_line(*trained_pair, images(), points=5, seed=1).before != line.before
    assert LossLine.from_json(line.to_json()) == line
    assert LossSurface.from_json(surface.to_json()) == surface
    assert surface.before.losses[1][1] == line.before.losses[2]
    assert "1 batch norms recalibrated on 16 samples" in str(line)
    assert "after, as it is" in str(surface)


def test_the_middle_is_the_model_once_its_statistics_are_those_of_the_data(trained_pair):
    model = copy.deepcopy(trained_pair[0])
    model.norm.momentum = None
    model.norm.reset_running_stats()
    with torch.no_grad():
        model.train()(images()[0][0])
    line = loss_line(model, trained_pair[0], images(), points=3)
    assert line.before.losses[1] == pytest.approx(line.before.as_is, rel=1e-6)
    assert line.after.losses == pytest.approx(line.before.losses, rel=1e-6)  # statistics of its own do not matter
    assert line.after.as_is != pytest.approx(line.before.as_is, rel=1e-6)


def test_a_filter_scaled_before_its_norm_changes_nothing(trained_pair):
    before = trained_pair[0]
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.stem.weight.mul_(10)
        after.stem.bias.mul_(10)
    after.norm.eps = before.norm.eps * 100
    line = loss_line(before, after, images(), radius=0.5, points=5)
    assert line.after.losses == pytest.approx(line.before.losses, rel=1e-4)
    assert line.after.as_is != pytest.approx(line.before.as_is, rel=1e-4)  # without recalibration they would differ


def test_statistics_are_taken_from_the_calibration_batches(trained_pair):
    other = [(samples * 2 + 1, targets) for samples, targets in images(20)]
    line = loss_line(*trained_pair, images(), calibration=other, points=3, max_samples=18)
    assert (line.conditions.samples, line.conditions.cut) == (16, False)
    assert (line.conditions.calibration_samples, line.conditions.calibration_cut) == (18, True)
    assert line.before.losses != loss_line(*trained_pair, images(), points=3).before.losses
    assert "18 samples of more" in str(line)


def test_points_where_the_loss_is_not_finite_are_left_open():
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1)
    data = [(torch.full((2, 2), 1e38), torch.zeros(2).long())]
    line = loss_line(model, model, data, radius=10, points=3)
    assert line.before.losses[0] is None
    assert LossLine.from_json(line.to_json()) == line
    assert "-" in str(line)


@pytest.mark.parametrize("measure", [loss_line, loss_surface])
def test_bad_settings_models_and_data_are_refused(measure, trained_pair):
    with pytest.raises(SettingError, match="points: no point in the middle; expected odd, 3 or more, found 4"):
        measure(*trained_pair, images(), points=4)
    with pytest.raises(SettingError, match="radius: not a distance"):
        measure(*trained_pair, images(), radius=0)
    with pytest.raises(ModelError, match="the two models differ"):
        measure(trained_pair[0], nn.Conv2d(3, 5, 3), images())
    with pytest.raises(DataError, match="no samples"):
        measure(*trained_pair, [])
    with pytest.raises(DataError, match="classes that the model does not have"):
        measure(EveryKind(), EveryKind(), images(classes=50))
