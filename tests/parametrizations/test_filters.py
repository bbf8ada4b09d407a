"""Blocks read as filters: one row for each output channel, whatever the storage."""

import pytest
import torch
from torch import nn

from refconv.layers import find_layers
from refconv.parametrizations.filterwise import filter_shape, from_filters, to_filters
from transforms import CONVOLUTIONS


@pytest.mark.parametrize("order", ["contiguous", "across"])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_filters_and_blocks_are_inverse_and_scaling_a_row_scales_its_output_channel(kind, order):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    nn.init.zeros_(module.bias)
    layout = find_layers(module)[0].layout(order)
    blocks = layout.to_blocks(module.weight.detach())
    filters = to_filters(blocks, layout)
    assert filters.shape == filter_shape(layout) == (1, module.out_channels, filters.shape[-1])
    assert torch.equal(from_filters(filters, layout), blocks)
    batch = torch.randn(1, module.in_channels, *[6] * len(layout.kernel_size)).double()
    expected = module(batch)
    factors = torch.randn(module.out_channels).double()
    with torch.no_grad():
        module.weight.copy_(layout.from_blocks(from_filters(filters * factors[:, None], layout)))
    torch.testing.assert_close(module(batch), expected * factors.reshape(1, -1, *[1] * len(layout.kernel_size)))
