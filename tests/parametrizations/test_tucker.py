"""Tucker-2: a core with the taps between two factors of channels."""

import pytest
import torch
from torch import nn

from refconv.errors import SettingError
from refconv.parametrizations.filterwise import from_filters
from transforms import disturb, transform_on


def test_change_is_the_product_of_core_and_factors():
    module = nn.Conv2d(6, 8, (3, 2), groups=2).double()
    transform = transform_on("tucker", module, rank=2, scale=0.5)
    disturb(module)
    u, c, v = (getattr(transform, name)[0] for name in ("up", "core", "down"))
    change = torch.einsum("op,pqk,qi->oik", u, c, v).reshape(8, 3, 3, 2)
    base = module.parametrizations.weight.original
    torch.testing.assert_close(module.weight * 1, base + 0.5 * change)
    wrong = from_filters(torch.einsum("op,pqk,qi->oki", u, c, v).reshape(1, 8, 18), transform.layout)
    assert not torch.allclose(transform.layout.to_blocks(module.weight), transform.layout.to_blocks(base) + 0.5 * wrong)


def test_the_change_is_three_convolutions_in_a_row():
    module = nn.Conv2d(4, 6, 3, bias=False).double()
    transform = transform_on("tucker", module, rank=3)
    disturb(module)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    u, c, v = (getattr(transform, name)[0] for name in ("up", "core", "down"))
    inner = torch.conv2d(torch.conv2d(x, v[:, :, None, None]), c.reshape(3, 3, 3, 3))
    expected = torch.conv2d(x, module.parametrizations.weight.original) + torch.conv2d(inner, u[:, :, None, None])
    torch.testing.assert_close(module(x), expected)


def test_ranks_are_cut_to_the_channels():
    transform = transform_on("tucker", nn.Conv2d(2, 6, 3, groups=2), rank=4)
    assert [tuple(p.shape) for p in transform.parameters()] == [(1, 6, 4), (1, 4, 1, 9), (1, 1, 1)]
    with pytest.raises(SettingError, match="rank: value out of range"):
        transform_on("tucker", nn.Conv2d(2, 6, 3), rank=0)
