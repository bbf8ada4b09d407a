"""Spectral norms against the matrix of the convolution, written out, and bounds against every geometry."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refconv.analysis import spectral_norms
from refconv.errors import SettingError

LAYERS = {
    "dense": lambda: nn.Conv2d(3, 4, 3, bias=False),
    "one dimension": lambda: nn.Conv1d(4, 6, 5, bias=False),
    "three dimensions": lambda: nn.Conv3d(2, 2, (2, 3, 1), bias=False),
    "grouped": lambda: nn.Conv2d(6, 4, (1, 4), groups=2, bias=False),
    "depthwise": lambda: nn.Conv2d(5, 5, 3, groups=5, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
}


def matrix(function, shape):
    """Return the matrix [out, in] of a linear function of images of a shape."""
    count = torch.Size(shape).numel()
    images = torch.eye(count, dtype=torch.float64).reshape(count, *shape)
    return function(images).reshape(count, -1).T


def circular(layer, size):
    """Return the convolution of a layer with circular padding, by its own forward, as a matrix."""
    taps = layer.kernel_size
    channels, sizes = layer.in_channels, [size if tap > 1 else 1 for tap in taps]

    def function(x):
        around = [around for tap in reversed(taps) for around in ((tap - 1, 0) if tap > 1 else (0, 0))]
        if not layer.transposed:
            return layer(F.pad(x, around, mode="circular"))
        y = layer(F.pad(x, around, mode="circular"))  # every position that a padded copy reaches, the middle kept
        return y[(..., *(slice(tap - 1, tap - 1 + n) for tap, n in zip(taps, sizes, strict=True)))]

    return matrix(function, (channels, *sizes))


@pytest.mark.parametrize("name", LAYERS)
def test_norm_is_the_largest_singular_value_of_the_circular_convolution(name):
    layer = LAYERS[name]().double()
    (row,) = spectral_norms(layer, layer, size=6).layers
    values = torch.linalg.svdvals(circular(layer, 6).detach())
    assert row.after.norm == pytest.approx(float(values[0]), rel=1e-12)
    flat = float(
        torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
    )  # of the weight as a matrix: not the operator's
    assert row.after.norm != pytest.approx(flat, rel=1e-3)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2, "padding": 2}])
def test_no_geometry_exceeds_the_bound(name, geometry):
    layer = LAYERS[name]().double()
    for key, value in geometry.items():
        setattr(layer, key, (value,) * len(layer.kernel_size))
    (row,) = spectral_norms(layer, layer).layers
    values = torch.linalg.svdvals(matrix(layer, (layer.in_channels, *[7] * len(layer.kernel_size))).detach())
    assert float(values[0]) <= row.after.bound * (1 + 1e-12)
    assert row.after.norm <= row.after.bound * (1 + 1e-12)


def test_the_bound_is_reached_by_one_positive_kernel():
    layer = nn.Conv2d(1, 1, 3, bias=False).double()
    nn.init.uniform_(layer.weight, 0.1, 1)
    (row,) = spectral_norms(layer, layer).layers
    assert row.after.norm == pytest.approx(float(layer.weight.detach().sum()), rel=1e-12)
    assert row.after.bound == pytest.approx(row.after.norm, rel=1e-12)


def test_wide_layers_are_measured_where_the_estimate_is_largest():
    layer = nn.Conv2d(40, 24, 3, bias=False).double()
    (row,) = spectral_norms(layer, layer, size=8).layers
    everywhere = torch.linalg.svdvals(torch.fft.fft2(layer.weight, s=(8, 8)).flatten(2).permute(2, 0, 1)).amax()
    assert row.after.norm == pytest.approx(float(everywhere.detach()), rel=1e-12)


def test_large_kernels_get_as_many_positions_as_they_have_taps():
    layer = nn.Conv1d(1, 1, 9, bias=False).double()
    nn.init.ones_(layer.weight)
    assert spectral_norms(layer, layer, size=4).layers[0].after.norm == pytest.approx(9)


def test_a_size_without_positions_is_refused():
    layer = nn.Conv1d(1, 1, 3)
    with pytest.raises(SettingError, match="size: too few; expected 1 or more, found 0"):
        spectral_norms(layer, layer, size=0)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state, numbers = state_of(*trained_pair), torch.get_rng_state()
    found = spectral_norms(*trained_pair)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert type(found).from_json(found.to_json()) == found
    assert "spectral norm" in str(found)
