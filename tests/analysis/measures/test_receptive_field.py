"""The effective receptive field of single convolutions, of stacks, and of Gaussians with known radii."""

import copy
import math

import pytest
import torch
from torch import nn

from networks import EveryKind
from refconv.analysis.measures.attribution import receptive_field
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import ReceptiveField


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batches_of(*samples):
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in samples]


def values(found):
    return torch.tensor(found.values, dtype=torch.float64).reshape(found.values_shape)


def test_of_a_single_convolution_it_is_the_kernels_absolute_value():
    conv = nn.Conv2d(1, 1, (3, 5), padding=(1, 2)).double()
    found = receptive_field(conv, batches_of(drawn(4, 1, 12, 15)))
    kernel = conv.weight.detach()[0, 0].abs()
    expected = torch.zeros(12, 15, dtype=torch.float64)
    expected[5:8, 5:10] = kernel / kernel.max()  # around the unit (6, 7)
    torch.testing.assert_close(values(found), expected)
    assert (found.unit, found.map_shape, found.extent) == ((6, 7), (12, 15), (3, 5))
    assert found.side == math.sqrt(int((kernel > 0.0455 * kernel.max()).sum()))
    assert found.layer == "(the model itself)"


def test_channels_add_up_over_outputs_before_the_absolute_value_and_over_inputs_after():
    conv = nn.Conv2d(2, 3, 3, padding=1).double()
    found = receptive_field(conv, batches_of(drawn(2, 2, 7, 7)))
    expected = conv.weight.detach().sum(0).abs().sum(0)
    torch.testing.assert_close(values(found)[2:5, 2:5], expected / expected.max())
    other = conv.weight.detach().abs().sum((0, 1))
    assert not torch.allclose(expected / expected.max(), other / other.max())


def test_dilation_and_stride_widen_the_field():
    found = receptive_field(nn.Conv2d(1, 1, 3, dilation=3, padding=3).double(), batches_of(drawn(1, 1, 15, 15)))
    assert found.extent == (7, 7)
    stack = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 1, 3, padding=1)).double()
    found = receptive_field(stack, batches_of(drawn(1, 1, 16, 16)))
    assert (found.layer, found.map_shape, found.extent) == ("1", (8, 8), (7, 7))
    assert receptive_field(stack, batches_of(drawn(1, 1, 16, 16)), layer="0").extent == (3, 3)


@pytest.mark.parametrize("sigma", [3.0, 5.0])
def test_radii_of_a_gaussian_are_known(sigma):
    """A of standard deviation s: the energy A^2 within r is 1 - exp(-r^2 / s^2); A > 4.55 % is a disc."""
    taps = torch.arange(-30, 31, dtype=torch.float64)
    line = torch.exp(-0.5 * (taps / sigma) ** 2)
    conv = nn.Conv2d(1, 1, 61, padding=30, bias=False).double()
    conv.weight = nn.Parameter(torch.outer(line, -line)[None, None])
    found = receptive_field(conv, batches_of(drawn(1, 1, 81, 81)), shares=(0.9, 0.5))
    assert found.shares == (0.5, 0.9)
    expected = [sigma * math.sqrt(-math.log(1 - share)) for share in found.shares]
    assert found.radii == pytest.approx(expected, abs=0.3)
    assert found.radii[1] < sigma * math.sqrt(-2 * math.log(1 - 0.9)) - 1  # the radius of A itself is another
    assert found.centre == pytest.approx((40, 40))
    assert found.side == pytest.approx(sigma * math.sqrt(2 * math.pi * -math.log(0.0455)), rel=0.03)


def test_a_deep_stack_is_narrower_than_what_it_could_see():
    torch.manual_seed(0)
    stack = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(8)]).double()
    for conv in stack:
        nn.init.constant_(conv.weight, 1 / 9)
    found = receptive_field(stack, batches_of(drawn(1, 1, 33, 33)))
    assert found.extent == (17, 17)
    sigma = math.sqrt(8 * 2 / 3)  # variances of uniform taps add up
    assert found.radii == pytest.approx([sigma * math.sqrt(-math.log(1 - q)) for q in found.shares], rel=0.15)


def test_layers_that_work_in_place_behind_it_do_not_matter():
    conv = nn.Conv2d(1, 1, 3, padding=1).double()
    nn.init.constant_(conv.bias, -100)  # the rectifier behind would cut every gradient off
    model = nn.Sequential(nn.ReLU(inplace=True), conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    samples = drawn(2, 1, 7, 7).abs()
    data = batches_of(samples)
    found = receptive_field(model, data)
    assert (found.layer, found.extent) == ("1", (3, 3))
    assert torch.equal(data[0][0], samples)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_signals_and_volumes_have_fields_too(dimensions):
    build = {1: nn.Conv1d, 3: nn.Conv3d}[dimensions]
    found = receptive_field(build(2, 3, 3, padding=1), batches_of(drawn(2, 2, *[6] * dimensions).float()))
    assert found.extent == (3,) * dimensions
    assert "radius in pixels" in str(found)


def test_pictures_are_averaged_down():
    conv = nn.Conv2d(1, 1, 3, padding=1).double()
    found = receptive_field(conv, batches_of(drawn(1, 1, 12, 6)), max_map=4)
    assert found.values_shape == (4, 4)
    assert found.input_shape == (12, 6)


def test_a_real_model_is_measured_alike_however_batched_and_left_alone(trained_pair, state_of):
    model = copy.deepcopy(trained_pair[1])
    model.stem.requires_grad_(False)
    samples = drawn(10, 3, 20, 20).float()
    state, told = state_of(model), []
    found = receptive_field(model, batches_of(samples), progress=lambda *done: told.append(done))
    assert state.unchanged()
    assert told == [(10, 10)]
    assert found.layer == "up"  # a transposed convolution is one too
    again = receptive_field(model, lambda: iter(batches_of(samples[:4], samples[4:])))
    torch.testing.assert_close(values(again), values(found))
    assert (again.radii, again.samples) == (found.radii, 10)
    assert ReceptiveField.from_json(found.to_json()) == found
    bounded = receptive_field(model, batches_of(samples), max_samples=3)
    assert (bounded.samples, bounded.cut) == (3, True)
    assert "3 samples of more" in str(bounded)


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.conv(torch.ones_like(x))


def test_bad_input_is_refused_in_one_line():
    data = batches_of(drawn(2, 3, 20, 20).float())
    small = batches_of(drawn(1, 3, 9, 9).float())
    dead = nn.Conv2d(3, 2, 3)
    nn.init.zeros_(dead.weight)
    cases = [
        (ModelError, "no convolution gives a map", nn.ReLU(), data, {}),
        (ModelError, "tail: there is no such layer", EveryKind(), data, {"layer": "tail"}),
        (ModelError, "head: the layer gives no map", EveryKind(), data, {"layer": "head"}),
        (ModelError, "conv: nothing of the input moves", Constant(), data, {}),
        (ModelError, "gradients are all zero", dead, data, {}),
        (DataError, "differ in size; expected 20 x 20, found 9 x 9", dead, [*data, *small], {}),
        (DataError, "no field to measure", nn.Linear(3, 3), batches_of(drawn(2, 3)), {}),
        (DataError, "no samples", dead, [], {}),
        (SettingError, "shares between 0 and 1", dead, data, {"shares": (1.0,)}),
    ]
    for error, message, model, batches, settings in cases:
        with pytest.raises(error, match=message) as caught:
            receptive_field(model, batches, **settings)
        assert "\n" not in str(caught.value)
