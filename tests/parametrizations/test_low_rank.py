"""Low rank: a product of two thin matrices over filters."""

import pytest
import torch
from torch import nn

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
