"""Gabor functions and band-passes, beside the formulas of the field's own code."""

import math

import numpy as np
import pytest
import torch
from skimage.filters import gabor_kernel
from torch import nn

from transforms import transform_on


def test_gabor_functions_are_those_of_scikit_image():
    torch.manual_seed(0)
    module = nn.Conv2d(2, 3, 7).double()
    transform = transform_on("gabor", module, waves=2)
    with torch.no_grad():
        transform.amplitude.normal_()
        transform.width.uniform_(1.2, 3)
    expected = module.parametrizations.weight.original.detach().clone()
    for block in range(6):
        for wave in range(2):
            a, s, p = (
                float(getattr(transform, name)[block, 0, wave].detach()) for name in ("amplitude", "width", "phase")
            )
            fy, fx = transform.frequency[block, 0, wave].tolist()  # rows first, as taps are stored
            length, theta = math.hypot(fx, fy), math.atan2(fy, fx)
            whole = gabor_kernel(length, theta=theta, sigma_x=s, sigma_y=s, offset=p, n_stds=6).real * (
                2 * np.pi * s * s
            )
            middle = [size // 2 for size in whole.shape]
            part = whole[middle[0] - 3 : middle[0] + 4, middle[1] - 3 : middle[1] + 4]
            expected.view(6, 7, 7)[block] += a * torch.from_numpy(np.ascontiguousarray(part))
    torch.testing.assert_close(module.weight * 1, expected)


def test_bands_are_those_of_sincnet():
    torch.manual_seed(0)
    module = nn.Conv1d(1, 5, 31).double()
    transform = transform_on("sinc", module)
    with torch.no_grad():
        transform.amplitude.normal_()
    low, width = (getattr(transform, name)[..., 0].detach() for name in ("low", "width"))
    high, taps = low + width, torch.arange(31).double() - 15
    passes = 2 * high * torch.sinc(2 * high * taps) - 2 * low * torch.sinc(2 * low * taps)
    window = 0.54 + 0.46 * torch.cos(2 * math.pi * taps / 30)
    change = (transform.amplitude * passes / (2 * width) * window)[:, 0, None]
    torch.testing.assert_close(module.weight * 1, module.parametrizations.weight.original + change)
    unnormalised = (transform.amplitude * passes * window)[:, 0, None]
    assert not torch.allclose(module.weight, module.parametrizations.weight.original + unnormalised)


@pytest.mark.parametrize("kernel_size", [(5, 7), (1, 7), (3, 3, 3)])
def test_bands_of_several_dimensions_are_products(kernel_size):
    kind = nn.Conv2d if len(kernel_size) == 2 else nn.Conv3d
    module = kind(1, 1, kernel_size).double()
    transform = transform_on("sinc", module)
    with torch.no_grad():
        transform.amplitude.fill_(2)
        transform.low.uniform_(0, 0.3)
    change = (module.weight - module.parametrizations.weight.original)[0, 0].detach()
    factors = []
    for axis in range(len(kernel_size)):
        middle = [size // 2 for size in kernel_size]
        middle[axis] = slice(None)
        factors.append(change[tuple(middle)] / 2)
    product = factors[0]
    for factor in factors[1:]:
        product = product[..., None] * factor
    torch.testing.assert_close(change, 2 * product)


def test_the_bands_of_a_layer_divide_the_frequencies():
    transform = transform_on("sinc", nn.Conv1d(1, 4, 9))
    torch.testing.assert_close(transform.low.flatten(), torch.tensor([0, 0.125, 0.25, 0.375]))
    torch.testing.assert_close(transform.width.flatten(), torch.full((4,), 0.125))
