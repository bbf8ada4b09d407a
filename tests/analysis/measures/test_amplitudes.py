"""Amplitudes of feature maps against numpy's transform, and by waves of known frequency."""

import numpy as np
import pytest
import torch
from torch import nn

from refconv.analysis import feature_spectra
from refconv.errors import ModelError


def waves(frequency, size=8):
    """Return images of a constant and a wave along the diagonal, of so many cycles over the image."""
    places = torch.arange(size, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * frequency * (places[:, None] + places) / size)
    return (1 + 0.5 * wave)[None, None].expand(8, 1, size, size)


def layer(gain=1.0):
    one = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.constant_(one.weight, gain)
    return one


def classes(x):
    return torch.zeros(len(x), dtype=torch.long)


def test_a_wave_is_found_at_its_frequency_whatever_its_gain():
    for frequency, amplitude in ((1, 0.25), (3, 0.25), (4, 0.5)):
        x = waves(frequency)
        (row,) = feature_spectra(layer(), layer(7.0), [(x, classes(x))]).layers
        assert row.after[frequency] == pytest.approx(np.log(amplitude), rel=1e-9)
        assert row.before[frequency] == pytest.approx(row.after[frequency])
        assert all(value is None or value < -30 for place, value in enumerate(row.after) if place not in (0, frequency))


def test_curves_are_those_of_numpy_over_samples_and_channels():
    model, other = (nn.Conv2d(2, 3, 3, padding=1).double() for _ in range(2))
    x = torch.randn(10, 2, 12, 8, dtype=torch.float64)
    (row,) = feature_spectra(model, other, [(x[:4], classes(x[:4])), (x[4:], classes(x[4:]))]).layers
    maps = other(x).detach().numpy()
    amplitude = np.abs(np.fft.fft2(maps)).mean((0, 1))
    diagonal = np.array([amplitude[at * 6 // 4, at] for at in range(5)])
    assert row.after == pytest.approx((np.log(diagonal) - np.log(diagonal[0])).tolist())
    logs = np.log(np.abs(np.fft.fft2(maps))).mean((0, 1))
    assert row.after[-1] != pytest.approx(logs[6, 4] - logs[0, 0], rel=1e-3)


def test_small_maps_and_layers_that_do_not_run_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.small, self.idle = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, 3), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.small(self.wide(x))

    x = torch.randn(2, 1, 8, 8)
    found = feature_spectra(Odd(), Odd(), [(x, classes(x))])
    assert [row.layer for row in found.layers] == ["wide"]
    assert set(found.left_out) == {"small", "idle"}
    assert found.left_out["idle"] == "it does not run"


def test_signals_have_spectra_and_zeros_have_none():
    x = torch.randn(4, 2, 16)
    model, dead = nn.Conv1d(2, 3, 3), nn.Conv1d(2, 3, 3)
    for parameter in dead.parameters():
        nn.init.zeros_(parameter)
    (row,) = feature_spectra(model, dead, [(x, classes(x))]).layers
    assert len(row.before) == 8
    assert set(row.after) == {None}


def test_different_architectures_and_features_that_are_not_finite_are_refused():
    x = torch.randn(2, 1, 8, 8)
    with pytest.raises(ModelError, match="differ in their convolutions"):
        feature_spectra(layer(), nn.Sequential(layer()), [(x, classes(x))])
    huge = layer(1e300)
    with pytest.raises(ModelError, match="features are not finite"):
        feature_spectra(huge, huge, [(1e30 * x.double(), classes(x))])


def test_a_real_pair_is_left_alone_and_its_record_written(trained_pair, state_of):
    x = torch.randn(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    state = state_of(*trained_pair)
    found = feature_spectra(*trained_pair, [(x, torch.arange(6) % 3)])
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "pointwise", "up"]
    assert type(found).from_json(found.to_json()) == found
    assert "highest frequency" in str(found)
