"""Drawn convolutions and their numbers, which the tests of ops share."""

from math import prod

import torch
from hypothesis import strategies as st

from refconv.ops import Layout


@st.composite
def convolutions(draw, with_order=True):
    """A layout in one to three dimensions, a map size that fits it, and a seed."""
    dimensions = draw(st.integers(1, 3))
    kernel_size = tuple(draw(st.integers(1, 4 if dimensions < 3 else 3)) for _ in range(dimensions))
    layout = Layout(
        groups=draw(st.integers(1, 3)),
        out_per_group=draw(st.integers(1, 3)),
        in_per_group=draw(st.integers(1, 2)),
        kernel_size=kernel_size,
        transposed=draw(st.booleans()),
        order=draw(st.sampled_from(["contiguous", "across", "layer", "filters"])) if with_order else "contiguous",
    )
    asked = draw(st.sampled_from([1, 3, 5]))
    return layout, layout.map_size(asked), draw(st.integers(0, 2**16))


def drawn(layout, map_size, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(layout.weight_shape, generator=generator, dtype=torch.float64)
    b, m, _ = layout.block_shape
    refocus_weight = torch.randn(b, m, m * prod(map_size), generator=generator, dtype=torch.float64)
    return weight, refocus_weight
