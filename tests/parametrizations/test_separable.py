"""Separable: outer products, and the closest ones to start from."""

import pytest
import torch
from torch import nn

from refconv.parametrizations.spatial import closest_factors
from transforms import CONVOLUTIONS, blocks_of, disturb, transform_on


def test_kernel_is_the_outer_product_of_its_factors():
    torch.manual_seed(0)
    module = CONVOLUTIONS["3-D"]().double()
    transform = transform_on("separable", module)
    disturb(module)
    _, kernel = blocks_of(module)
    x, y, z = transform.factors
    expected = torch.einsum("bmx,bmy,bmz->bmxyz", x, y, z)
    torch.testing.assert_close(kernel.reshape(expected.shape), expected)


def test_start_in_two_dimensions_is_the_leading_singular_pair():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, (3, 5)).double()
    base = module.weight.detach().clone()
    transform_on("separable", module)
    u, s, v = torch.linalg.svd(base, full_matrices=False)
    torch.testing.assert_close(module.weight, s[..., 0, None, None] * u[..., :1] @ v[..., :1, :])


def test_start_in_three_dimensions_is_a_local_best():
    """No small move of the factors comes closer; a product that is there is found exactly."""
    torch.manual_seed(0)
    module = nn.Conv3d(2, 2, 3).double()
    base = module.weight.detach().clone()
    transform = transform_on("separable", module)
    (module.weight - base).square().sum().backward()
    assert all(factor.grad.abs().max() < 1e-6 for factor in transform.factors)
    distance = (module.weight - base).square().sum((2, 3, 4))
    assert (distance < base.square().sum((2, 3, 4))).all()
    product = torch.einsum("nx,ny,nz->nxyz", *(torch.randn(5, 3).double() for _ in range(3)))
    found = closest_factors(product.reshape(5, 1, 27), (3, 3, 3))
    torch.testing.assert_close(torch.einsum("nmx,nmy,nmz->nmxyz", *found)[:, 0], product)


def test_one_dimensional_kernels_and_lines_are_kept():
    torch.manual_seed(0)
    for module in (nn.Conv1d(4, 4, 5), nn.Conv2d(4, 4, (1, 7)), nn.Conv2d(4, 4, 1)):
        base = module.weight.detach().clone()
        transform_on("separable", module, include="pointwise" if module.kernel_size == (1, 1) else "dense")
        torch.testing.assert_close(module.weight, base)


def test_factors_share_the_norm_and_zero_slices_stay_zero():
    torch.manual_seed(0)
    module = nn.Conv2d(2, 2, 3).double()
    with torch.no_grad():
        module.weight[0, 0] = 0
    transform = transform_on("separable", module)
    assert torch.equal(module.weight[0, 0], torch.zeros(3, 3).double())
    first, second = (factor.norm(dim=-1) for factor in transform.factors)
    torch.testing.assert_close(first, second)
    assert (first > 0).sum() == 3


@pytest.mark.parametrize(("kind", "trained"), [("dense", 24 * 6), ("1-D", 16 * 5), ("3-D", 4 * 8)])
def test_it_trains_the_sum_of_the_sizes_in_place_of_their_product(kind, trained):
    module = CONVOLUTIONS[kind]()
    transform_on("separable", module)
    assert disturb(module) == trained
