"""Low rank: a product of two thin matrices over filters."""

import pytest
import torch
from torch import nn

from refconv.surgery import load_refocused_state_dict, refocused_state_dict
from transforms import CONVOLUTIONS, disturb, transform_on


@pytest.mark.parametrize("kind", ["dense", "grouped", "1-D", "3-D"])
def test_change_is_scale_times_a_matrix_of_that_rank_over_filters(kind):
    module = CONVOLUTIONS[kind]().double()
    base = module.weight.detach().clone()
    transform = transform_on("low_rank", module, rank=2, scale=0.5)
    disturb(module)
    change = (module.weight - base).flatten(1)
    torch.testing.assert_close(change, 0.5 * transform.up[0] @ transform.down[0])
    assert torch.linalg.matrix_rank(change) == 2


def test_change_of_a_transposed_kernel_has_one_row_for_each_output_channel():
    module = nn.ConvTranspose2d(4, 3, 3).double()
    base = module.weight.detach().clone()
    transform = transform_on("low_rank", module, rank=1)
    disturb(module)
    change = module.weight - base  # [in, out, 3, 3]
    u, v = transform.up[0, :, 0], transform.down[0, 0].reshape(4, 3, 3)
    torch.testing.assert_close(change, torch.einsum("o,ixy->ioxy", u, v))


def test_rank_is_cut_to_the_smaller_side_which_reaches_every_kernel():
    module = nn.Conv2d(6, 6, 3, groups=6)
    transform = transform_on("low_rank", module, rank=50)
    assert transform.up.shape == (1, 6, 6)
    assert transform.down.shape == (1, 6, 9)


def test_down_starts_with_the_spread_of_a_convolution():
    torch.manual_seed(0)
    transform = transform_on("low_rank", nn.Conv2d(16, 64, 3), rank=32)
    bound = 1 / (16 * 9) ** 0.5
    assert 0.99 * bound < transform.down.abs().max() <= bound
    assert not transform.up.any()


@pytest.mark.parametrize(("factors", "part"), [("principal", slice(2)), ("minor", slice(4, 6))])
def test_factors_start_as_singular_components_that_leave_the_base(factors, part):
    module = nn.Conv2d(4, 6, 3).double()
    base = module.weight.detach().clone()
    transform = transform_on("low_rank", module, rank=2, scale=0.5, factors=factors)
    left, values, right = torch.linalg.svd(base.flatten(1), full_matrices=False)
    taken = left[:, part] * values[part] @ right[part]
    torch.testing.assert_close(0.5 * (transform.up @ transform.down)[0], taken)
    torch.testing.assert_close(transform.up[0].square().sum(0), values[part] / 0.5)  # either factor has the root
    torch.testing.assert_close(transform.down[0].square().sum(1), values[part] / 0.5)
    with torch.no_grad():
        transform.up.zero_()
    torch.testing.assert_close(module.weight.flatten(1), base.flatten(1) - taken)


def test_the_first_step_along_principal_factors_moves_the_kernel_within_their_spaces():
    module = nn.Conv2d(4, 6, 3).double()
    base = module.weight.detach().clone()
    transform_on("low_rank", module, rank=2, factors="principal")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-6)
    gradient = torch.randn_like(base)
    (module.weight * gradient).sum().backward()
    optimizer.step()
    left, values, right = (part.detach() for part in torch.linalg.svd(base.flatten(1), full_matrices=False))
    left, values, right, g = left[:, :2], values[:2], right[:2], gradient.flatten(1)
    # dU V + U dV with dU = -lr g V^T, dV = -lr U^T g: u s u^T g + g v s v^T, which the neighbouring u u^T g is not
    expected = -1e-6 * (left * values @ left.T @ g + g @ right.T * values @ right)
    found = (module.weight - base).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-12)  # and a term of second order in the rate
    assert not torch.allclose(found, -1e-6 * (left @ left.T @ g + g @ right.T @ right), rtol=1e-1)


def test_factors_that_were_trained_are_loaded_beside_the_components_of_their_base():
    torch.manual_seed(0)
    trained, other = (nn.Sequential(nn.Conv2d(4, 6, 3)) for _ in range(2))
    transform_on("low_rank", trained[0], rank=2, factors="minor")
    disturb(trained)
    transform_on("low_rank", other[0], rank=2, factors="minor")
    load_refocused_state_dict(other, refocused_state_dict(trained))
    assert torch.equal(other[0].weight, trained[0].weight)
