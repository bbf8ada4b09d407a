"""Ranges of channels and rounding errors against torch's own rounding."""

import pytest
import torch
from torch import nn

from refconv.analysis import weight_ranges
from refconv.errors import SettingError


def drawn(*shape):
    layer = nn.Conv2d(shape[1], shape[0], shape[2:], bias=False).double()
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-1, 1, shape[0], dtype=torch.float64)[:, None, None, None])
    return layer


@pytest.mark.parametrize("bits", [8, 4])
def test_errors_are_those_of_torchs_rounding(bits):
    layer, most = drawn(6, 3, 3, 3), 2 ** (bits - 1) - 1
    weight = layer.weight.detach().float()  # torch rounds in single precision
    ranges = weight.abs().amax((1, 2, 3))
    zero = torch.zeros(6, dtype=torch.int32)
    of_channels = torch.fake_quantize_per_channel_affine(weight, ranges / most, zero, 0, -most, most)
    of_layer = torch.fake_quantize_per_tensor_affine(weight, float(ranges.amax()) / most, 0, -most, most)
    (row,) = weight_ranges(layer, layer, bits=bits).layers
    for found, rounded in ((row.after.of_channels, of_channels), (row.after.of_layer, of_layer)):
        assert found == pytest.approx(float((weight - rounded).norm() / weight.norm()), rel=1e-4)
    assert row.after.of_layer > 1.2 * row.after.of_channels
    assert row.after.quartiles == pytest.approx(
        torch.quantile(ranges.double(), torch.linspace(0, 1, 5).double()).tolist()
    )
    assert row.after.spread == pytest.approx(float(ranges.max() / torch.quantile(ranges, 0.5)))


def test_scale_of_a_channel_does_not_change_its_own_error():
    layer = drawn(6, 3, 3, 3)
    scaled = drawn(6, 3, 3, 3)
    with torch.no_grad():
        scaled.weight.copy_(layer.weight)
        scaled.weight[0] *= 1000
    (row,) = weight_ranges(layer, scaled).layers
    alone = [weight_ranges(one, one).layers[0].after.of_channels for one in _channels(layer)]
    assert max(alone) >= row.before.of_channels >= min(alone)
    assert row.after.spread > 3 * row.before.spread


def _channels(layer):
    for kernel in layer.weight.detach():
        one = nn.Conv2d(3, 1, 3, bias=False).double()
        one.weight = nn.Parameter(kernel[None].clone())
        yield one


def test_channels_of_transposed_kernels_are_output_channels():
    layer = nn.ConvTranspose2d(2, 3, 2, bias=False).double()
    with torch.no_grad():
        layer.weight[:, 1] *= 50
    (row,) = weight_ranges(layer, layer).layers
    assert row.channels == 3
    assert row.after.spread > 10


def test_zeros_have_no_error():
    layer = nn.Conv1d(1, 2, 3)
    nn.init.zeros_(layer.weight)
    found = weight_ranges(layer, layer).layers[0].after
    assert (found.spread, found.of_layer, found.of_channels) == (None, None, None)


def test_one_bit_is_refused():
    layer = nn.Conv1d(1, 2, 3)
    with pytest.raises(SettingError, match="bits: too few; expected 2 or more, found 1"):
        weight_ranges(layer, layer, bits=1)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = weight_ranges(*trained_pair)
    assert state.unchanged()
    assert type(found).from_json(found.to_json()) == found
    assert "8 bits" in str(found)
