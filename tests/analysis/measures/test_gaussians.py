"""Fits of Gaussians: planted functions are found, in their family; other patterns and noise are not."""

import math

import pytest
import torch
from torch import nn

from refconv.analysis.measures.patterns import gaussian_fits, patterns, residuals
from refconv.errors import ModelError
from refconv.measures.filters import FAMILIES, GaussianFits


def depthwise(slices, side):
    conv = nn.Conv2d(len(slices), len(slices), side, groups=len(slices), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices.reshape(-1, 1, side, side))
    return conv


def planted(family, side, scales=(0.7, 1.3), centre=(0.2, -0.3), angle=0.5):
    """A function off the grid: scales, centre and orientation lie between its points."""
    small, large = (patterns((side, side), scale, centre, angle)[FAMILIES.index(family)] for scale in scales)
    return small / small.norm() - 0.6 * large / large.norm()


@pytest.mark.parametrize("side", [5, 7, 11])
@pytest.mark.parametrize("family", FAMILIES)
def test_functions_off_the_grid_fit_and_are_told_apart(family, side):
    kernel = planted(family, side)
    for scale in (1.0, -3.0):
        found = residuals(scale * kernel[None], (side, side))[0]
        assert found[FAMILIES.index(family)] < 0.1
        assert int(found.argmin()) == FAMILIES.index(family)


def test_functions_on_the_grid_fit_exactly():
    found = residuals(planted("first", 7, (0.5, 2.0), (0.5, -1.0), math.pi / 4)[None], (7, 7))[0]
    assert float(found[1]) == pytest.approx(0, abs=1e-12)


def test_derivatives_are_those_of_the_gaussian():
    """By central differences: moving the centre by h along u moves the function by - h times its derivative."""
    angle, h = 0.7, 1e-4
    step = (h * math.cos(angle), h * math.sin(angle))
    at = [patterns((7, 7), 1.2, tuple(sign * part for part in step), angle)[0] for sign in (1, 0, -1)]
    _, first, second = patterns((7, 7), 1.2, (0.0, 0.0), angle)
    torch.testing.assert_close((at[2] - at[0]) / (2 * h), first, atol=1e-7, rtol=0)
    torch.testing.assert_close((at[2] - 2 * at[1] + at[0]) / h**2, second, atol=1e-6, rtol=0)


def test_residual_is_that_of_least_squares():
    """The best over the grid, one call of lstsq for each pair of scales and centre."""
    slice_ = torch.randn(25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scales = [0.5, 0.5 * 2**0.5, 1.0, 2**0.5, 2.0]
    centres = [step / 4 for step in range(-4, 5)]
    least = math.inf
    for i, small in enumerate(scales):
        for large in scales[i + 1 :]:
            for centre in ((row, column) for row in centres for column in centres):
                pair = torch.stack([patterns((5, 5), scale, centre, 0.0)[0] for scale in (small, large)], dim=1)
                amplitudes = torch.linalg.lstsq(pair, slice_[:, None]).solution
                least = min(least, float((slice_[:, None] - pair @ amplitudes).square().sum()))
    relative = least / float(slice_.square().sum())
    assert float(residuals(slice_[None], (5, 5))[0, 0]) == pytest.approx(relative, rel=1e-8)


@pytest.mark.parametrize("side", [5, 7])
def test_checkerboards_and_noise_do_not_fit(side):
    at = torch.arange(side)
    checkerboard = (1.0 - 2.0 * ((at[:, None] + at) % 2)).double().reshape(1, -1)
    assert residuals(checkerboard, (side, side)).min() > 0.5
    noise = torch.randn(300, side * side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert (residuals(noise, (side, side)).amin(1) < 0.2).double().mean() < 0.01


def test_shares_count_kernels_by_family():
    slices = torch.stack([planted("dog", 5), planted("first", 5), planted("first", 5, angle=2.0), torch.zeros(25)])
    noise = torch.randn(4, 25, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = gaussian_fits(depthwise(torch.cat([noise, noise]), 5), depthwise(torch.cat([slices, noise]), 5))
    (row,) = found.layers
    assert row.before.fitting == 0
    assert row.after.families == {"dog": 1 / 8, "first": 2 / 8, "second": 0}
    assert found.fitting == (0, 3 / 8)
    assert found.families["first"] == (0, 2 / 8)
    assert found.chance["5 x 5"] < 0.01


def test_layers_are_left_out_with_a_reason_and_others_are_none_of_its_business():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, (1, 7), groups=4),
        nn.Conv2d(4, 4, 7),
        nn.Conv2d(4, 4, 7, groups=4),
    )
    found = gaussian_fits(model, model)
    assert [row.layer for row in found.layers] == ["3"]
    assert found.left_out == {"0": "3 x 3 is too small", "1": "1 x 7 is not two-dimensional"}
    assert "1 left out: 3 x 3 is too small" in str(found)


def test_layers_weigh_by_their_kernels():
    few, many = planted("dog", 5).expand(2, 25), torch.zeros(6, 25)
    model = nn.Sequential(depthwise(few, 5), depthwise(many, 5))
    assert gaussian_fits(model, model).fitting == (0.25, 0.25)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = gaussian_fits(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["depthwise"]
    assert found.layers[0].before.residual != found.layers[0].after.residual
    assert GaussianFits.from_json(found.to_json()) == found
    assert "of white noise fit" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        gaussian_fits(trained_pair[0], nn.Conv2d(1, 1, 3))
