"""g -> g G by its three routes, its adjoint, and the refocus weight of least norm, against explicit matrices."""

from math import prod

import pytest
import torch
from hypothesis import given, settings

from ops_cases import convolutions, drawn
from ops_reference import reference_blocks, reference_gram
from refconv.ops import (
    adjoint_by_convolution,
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    gram,
    gram_power,
    grams,
    metric_gram,
    patches,
    refocus_adjoint,
    refocused_blocks,
    scaling,
    shaped_patches,
    smallest_refocus_weight,
)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_three_routes_equal_the_product_with_the_slow_gram(case):
    layout, map_size, seed = case
    weight, _ = drawn(layout, map_size, seed)
    blocks, gradient = layout.to_blocks(weight), torch.randn(layout.block_shape, dtype=torch.float64)
    slices = reference_blocks(weight, layout.groups, layout.order, layout.transposed)
    expected = gradient @ torch.stack([reference_gram(block, map_size) for block in slices])
    for found in (
        apply_gram(gradient, metric_gram(blocks, layout.slice_size, map_size)),
        apply_gram_by_convolution(gradient, blocks, layout.slice_size, map_size),
        apply_gram_by_patches(gradient, blocks, layout.slice_size, map_size),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_adjoint_by_convolution_equals_the_product_with_patches(case):
    layout, map_size, seed = case
    weight, _ = drawn(layout, map_size, seed)
    blocks, gradient = layout.to_blocks(weight), torch.randn(layout.block_shape, dtype=torch.float64)
    expected = refocus_adjoint(gradient, patches(blocks, layout.slice_size, map_size))
    found = adjoint_by_convolution(gradient, blocks, layout.slice_size, map_size)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    flipped = adjoint_by_convolution(gradient.flip(-1), blocks, layout.slice_size, map_size)
    assert layout.taps == 1 or not torch.allclose(flipped, expected)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", ["capped", "normalized", "paper"])
def test_metric_gram_is_the_gram_of_the_patches_that_kernel_space_uses(power, scale):
    torch.manual_seed(0)
    blocks = torch.randn(3, 4, 6, dtype=torch.float64)
    blocks[0] /= 100  # a block that is not capped
    shaped = shaped_patches(patches(blocks, (2, 3), (3, 3)), power)
    largest = torch.linalg.matrix_norm(gram(shaped), ord=2)[:, None, None]
    expected = gram(shaped) / (largest.clamp(min=1) if scale == "capped" else 1)
    found = metric_gram(blocks, (2, 3), (3, 3), scale=scale, power=power)
    if scale == "normalized":  # the base is normalized, then its Gram is raised to the power
        expected = gram_power(gram(patches(blocks, (2, 3), (3, 3))), power)
        expected /= gram(patches(blocks, (2, 3), (3, 3))).diagonal(dim1=1, dim2=2).mean(1)[:, None, None] ** power
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", ["capped", "normalized", "paper"])
def test_smallest_refocus_weight_reaches_the_kernel_and_is_smallest(power, scale):
    torch.manual_seed(0)
    blocks, displacement = torch.randn(2, 2, 5, 9, dtype=torch.float64).unbind(0)
    settings = {"scale": scale, "power": power}
    weight = smallest_refocus_weight(displacement, blocks, (3, 3), (3, 3), **settings)
    reached = refocused_blocks(weight, blocks, (3, 3), (3, 3), **settings)
    torch.testing.assert_close(reached, blocks + displacement, rtol=1e-9, atol=1e-9)
    shaped = shaped_patches(patches(blocks, (3, 3), (3, 3)), power) / scaling(blocks, (3, 3), (3, 3), **settings).sign
    torch.testing.assert_close(weight, displacement @ torch.linalg.pinv(shaped), rtol=1e-8, atol=1e-9)


def test_directions_the_base_does_not_span_stay_at_zero():
    blocks = torch.zeros(1, 1, 3, dtype=torch.float64)
    blocks[0, 0, 0] = 2.0
    grams = metric_gram(blocks, (3,), (1,), power=0.0)
    torch.testing.assert_close(grams[0], torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64)))
    weight = smallest_refocus_weight(torch.ones_like(blocks), blocks, (3,), (1,))
    torch.testing.assert_close(weight, torch.full((1, 1, 1), 0.5, dtype=torch.float64))
    torch.testing.assert_close(gram_power(grams, -1.0)[0], torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64)))


@pytest.mark.parametrize("chunk", [1, 100, 10**9])
def test_chunks_change_nothing(chunk, monkeypatch):
    torch.manual_seed(0)
    blocks, gradient = torch.randn(2, 7, 2, 9, dtype=torch.float64).unbind(0)
    expected = gradient @ gram(patches(blocks, (3, 3), (3, 3)))
    monkeypatch.setattr(grams, "_CHUNK", chunk)
    for found in (
        apply_gram(gradient, metric_gram(blocks, (3, 3), (3, 3))),
        apply_gram_by_convolution(gradient, blocks, (3, 3), (3, 3)),
        apply_gram_by_patches(gradient, blocks, (3, 3), (3, 3)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert prod(expected.shape) == 126


def test_no_blocks_are_no_work():
    nothing = torch.empty(0, 1, 9)
    assert apply_gram_by_convolution(nothing, nothing, (3, 3), (3, 3)).shape == (0, 1, 9)
    assert metric_gram(nothing, (3, 3), (3, 3)).shape == (0, 9, 9)
