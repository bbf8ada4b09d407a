"""Curvature of quadratics in closed form, of a network against its dense Hessian, and in units of filters."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import refconv
from loss_cases import images, regression
from networks import EveryKind
from refconv.analysis.batches import Passage
from refconv.analysis.measures.curvature import Hessian, curvature
from refconv.analysis.measures.landscape import sharpness
from refconv.analysis.probe import Probe
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.sharpness import Curvature


def with_bias(batches):
    """The Hessian of the mean squared error in weight and bias: (2 / n) [X 1]^T [X 1]."""
    X = torch.cat([samples for samples, _ in batches])
    X = torch.cat([X, torch.ones(len(X), 1).double()], 1)
    return 2 / len(X) * X.T @ X


def test_eigenvalues_of_a_regression_are_those_of_its_gram():
    model, batches, _ = regression()
    found = curvature(model, batches, loss=F.mse_loss, top=7)
    expected = torch.linalg.eigvalsh(with_bias(batches)).flip(0).tolist()
    assert found.eigenvalues == pytest.approx(expected, rel=1e-10)  # batches of 8 and 12 count by their samples
    assert found.smallest == found.eigenvalues[-1]
    assert (found.dimension, found.samples, found.cut, found.converged) == (7, 20, False, True)
    uneven = torch.stack([with_bias([batch]) for batch in batches]).mean(0)
    assert found.eigenvalues[0] != pytest.approx(float(torch.linalg.eigvalsh(uneven)[-1]), rel=0.01)


def test_trace_is_within_its_standard_error_and_exact_for_a_diagonal():
    model, batches, _ = regression()
    found = curvature(model, batches, loss=F.mse_loss, draws=400).trace
    expected = float(with_bias(batches).trace())
    assert abs(found.mean - expected) < 3 * found.error
    off = with_bias(batches).fill_diagonal_(0)
    assert found.deviation == pytest.approx(float(2 * off.square().sum()) ** 0.5, rel=0.1)  # Var = 2 |off|^2
    model = nn.Linear(3, 1, bias=False).double()
    batches = [(torch.diag(torch.tensor([1.0, 2, 3])).double(), torch.zeros(3, 1).double())]
    found = curvature(model, batches, loss=F.mse_loss, draws=2).trace
    assert (found.mean, found.error) == pytest.approx((2 / 3 * 14, 0))
    assert curvature(model, batches, loss=F.mse_loss, draws=0).trace is None


def test_products_are_those_of_the_dense_hessian_of_a_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten(), nn.Linear(8, 3)).double()
    model[1].running_var.fill_(0.3)
    data = [(torch.randn(5, 1, 4, 4).double(), torch.tensor([0, 1, 2, 0, 1]))]
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]
    evaluated = copy.deepcopy(model).eval()

    def loss(flat):
        parts = [part.reshape(value.shape) for part, value in zip(flat.split(sizes), values, strict=True)]
        return F.cross_entropy(functional_call(evaluated, dict(zip(names, parts, strict=True)), data[0][0]), data[0][1])

    H = torch.autograd.functional.hessian(loss, torch.cat([value.detach().reshape(-1) for value in values]))
    operator = Hessian(Probe(model, Passage(data)))
    columns = torch.stack([operator.product(unit) for unit in torch.eye(len(H)).double()])
    torch.testing.assert_close(columns, H)
    found = curvature(model, data, top=2, tolerance=1e-9)
    eigenvalues = torch.linalg.eigvalsh(H)
    assert found.eigenvalues == pytest.approx(eigenvalues.flip(0)[:2].tolist(), rel=1e-8)
    assert found.smallest == pytest.approx(float(eigenvalues[0]), rel=1e-4)
    assert found.smallest < 0


def test_units_of_filters_are_root_mean_squares():
    model, batches, H = regression()
    found = curvature(model, batches, loss=F.mse_loss, units="filters", top=2, draws=400)
    square = model.weight.detach().square().mean()
    expected = (float(square) * torch.linalg.eigvalsh(H)).flip(0)[:2].tolist()
    assert found.eigenvalues == pytest.approx(expected, rel=1e-10)
    assert found.dimension == 6  # biases are held
    rise = sharpness(model, model, batches, loss=F.mse_loss, radius=0.1, directions=400).before.rise
    error = (found.trace.error**2 + (2 / 0.1**2 * rise.error) ** 2) ** 0.5
    assert abs(found.trace.mean - 2 / 0.1**2 * rise.mean) < 3 * error


def test_units_of_filters_do_not_see_scale_before_a_normalisation(trained_pair):
    model = copy.deepcopy(trained_pair[1]).double()
    larger = copy.deepcopy(model)
    norm = larger.norm
    with torch.no_grad():
        for value in (larger.stem.weight, larger.stem.bias, norm.running_mean):
            value.mul_(10)
        norm.running_var.mul_(100)
    norm.eps *= 100
    settings = {"draws": 2, "top": 1, "tolerance": 1e-6}
    first, second = (curvature(m, images(), units="filters", **settings) for m in (model, larger))
    assert second.eigenvalues == pytest.approx(first.eigenvalues, rel=1e-5)
    assert second.trace.mean == pytest.approx(first.trace.mean, rel=1e-5)


def test_a_network_is_measured_left_alone_and_written(trained_pair, state_of):
    model = copy.deepcopy(trained_pair[1]).train()
    model.stem.requires_grad_(False)
    state, numbers, seen = state_of(model), torch.get_rng_state(), []
    found = curvature(
        model, images(20), top=1, steps=5, draws=2, tolerance=0, max_samples=16, progress=lambda *now: seen.append(now)
    )
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert seen == [(done, 7) for done in range(1, 8)]
    assert curvature(model, images(20), top=1, steps=5, draws=2, tolerance=0, max_samples=16) == found
    assert Curvature.from_json(found.to_json()) == found
    assert (found.samples, found.cut, found.converged, found.steps) == (16, True, False, 5)
    assert "16 samples of more; not converged after 5 steps" in str(found)
    with torch.no_grad():  # gradients asked for inside, whatever is asked for outside
        assert curvature(model, images(20), top=1, steps=5, draws=2, tolerance=0, max_samples=16) == found


def test_attention_and_shared_weights_have_second_derivatives():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Linear(4, 4)
            self.key = nn.Linear(4, 4)
            self.key.weight = self.query.weight

        def forward(self, x):
            return F.scaled_dot_product_attention(self.query(x), self.key(x), x).mean(1)

    torch.manual_seed(0)
    data = [(torch.randn(3, 5, 4), torch.tensor([0, 1, 3]))]
    found = curvature(Attention(), data)
    assert found.dimension == 24
    assert found.eigenvalues[0] > 0


class Once(torch.autograd.Function):
    """The identity, with a first derivative and, as deformable convolutions, an error for the second."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return Never.apply(gradient)


class Never(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("double backward is not supported")


def test_losses_that_cannot_be_differentiated_twice_are_refused():
    model, batches, _ = regression()
    with pytest.raises(ModelError, match="the loss cannot be differentiated twice; found double backward") as caught:
        curvature(model, batches, loss=lambda outputs, targets: F.mse_loss(Once.apply(outputs), targets))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="does not depend on the weights in a way that can be differentiated"):
        curvature(model, batches, loss=lambda outputs, targets: outputs.detach().mean())
    flat = curvature(model, batches, loss=lambda outputs, targets: outputs.mean(), draws=2)
    assert (flat.eigenvalues, flat.trace.mean) == ((0, 0, 0), 0)  # linear in the weights


def test_bad_input_is_refused():
    model, batches, _ = regression()
    for settings, message in (
        ({"units": "layers"}, "units: unknown units; expected weights or filters"),
        ({"top": 0}, "top: too few"),
        ({"steps": 0}, "steps: too few"),
        ({"draws": 1}, "draws: no spread"),
        ({"tolerance": 2}, "tolerance: not a relative error"),
    ):
        with pytest.raises(SettingError, match=message):
            curvature(model, batches, loss=F.mse_loss, **settings)
    with pytest.raises(DataError, match="no samples"):
        curvature(model, [], loss=F.mse_loss)
    refocused = EveryKind()
    refconv.refocus(refocused)
    with pytest.raises(ModelError, match="analysis reads plain models"):
        curvature(refocused, images())
