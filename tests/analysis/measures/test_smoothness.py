"""Total variation and frequency balance of kernels against torchmetrics, quadrature and white noise."""

import numpy as np
import pytest
import torch
from torch import nn

from refconv.analysis import kernel_smoothness

torchmetrics = pytest.importorskip("torchmetrics.functional.image")


def of(weight):
    """Return what the measure says of a depthwise kernel [channels, 1, *taps]."""
    channels, _, *taps = weight.shape
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(taps)](channels, channels, taps, groups=channels)
    layer = layer.double()
    layer.weight = nn.Parameter(weight.double())
    (row,) = kernel_smoothness(layer, layer).layers
    return row.after


def energy(taps, most):
    """Integrate the energy of one slice over frequencies up to ``most`` in every dimension, by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    waves = [np.exp(-2j * np.pi * np.outer(most * nodes, np.arange(size))) for size in taps.shape]
    values = np.abs(np.einsum("ay,bx,yx->ab", *waves, taps)) ** 2
    return most**2 * np.einsum("a,b,ab->", weights, weights, values)


def test_total_variation_is_that_of_torchmetrics_over_the_magnitudes():
    weight = torch.randn(6, 1, 5, 3, dtype=torch.float64)
    expected = torchmetrics.total_variation(weight) / weight.abs().sum()
    assert of(weight).variation == pytest.approx(float(expected), rel=1e-12)
    assert of(3 * weight).variation == pytest.approx(float(expected), rel=1e-12)
    squares = (weight.diff(dim=2).square().sum() + weight.diff(dim=3).square().sum()) / weight.square().sum()
    assert of(weight).variation != pytest.approx(float(squares), rel=0.1)


def test_high_frequencies_are_what_quadrature_leaves():
    weight = torch.randn(4, 1, 3, 5, dtype=torch.float64)
    slices = weight[:, 0].numpy()
    low, whole = (sum(energy(taps, most) for taps in slices) for most in (0.25, 0.5))
    assert whole == pytest.approx(float(weight.square().sum()), rel=1e-12)
    assert of(weight).high == pytest.approx(1 - low / whole, rel=1e-10)
    fourier = np.abs(np.fft.fft2(slices)) ** 2  # without a finer grid, three taps have no frequency at a quarter
    assert of(weight).high != pytest.approx(1 - fourier[:, 0, [0, 1, 4]].sum() / fourier.sum(), rel=0.05)


def test_a_constant_kernel_is_smooth_and_a_checkerboard_is_not():
    board = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])[None, None]
    constant, rough = of(torch.ones(1, 1, 3, 3)), of(board)
    assert constant.variation == 0
    assert rough.variation == pytest.approx(2 * 12 / 9)
    assert constant.high < 0.5 < 0.97 < rough.high


def test_white_noise_has_the_share_that_rows_name():
    for taps in ((9,), (5, 5), (3, 3, 3)):
        layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(taps)](1, 4000, taps)
        nn.init.normal_(layer.weight)
        (row,) = kernel_smoothness(layer, layer).layers
        assert row.after.high == pytest.approx(row.noise, abs=0.01)


def test_dimensions_of_one_tap_do_not_count():
    line = torch.randn(3, 1, 7, dtype=torch.float64)
    flat, upright = of(line[:, :, None]), of(line[..., None])
    assert flat == upright
    assert flat.variation == pytest.approx(of(line).variation)
    assert flat.high == pytest.approx(of(line).high)


def test_zeros_have_no_smoothness():
    assert of(torch.zeros(2, 1, 3, 3)).variation is None
    assert of(torch.zeros(2, 1, 3, 3)).high is None


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = kernel_smoothness(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert type(found).from_json(found.to_json()) == found
    assert "high frequencies" in str(found)
