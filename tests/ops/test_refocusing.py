"""Formula (1), the patches and the Gram against the slow definition, over drawn convolutions."""

import pytest
import torch
from hypothesis import given, settings

from ops_cases import convolutions, drawn
from ops_reference import reference_blocks, reference_gram, reference_refocus
from refconv.errors import SettingError
from refconv.ops import (
    Layout,
    effective_map_size,
    gram,
    gram_power,
    mean_eigenvalue,
    patches,
    refocus_adjoint,
    refocus_by_convolution,
    refocus_by_patches,
    shaped_patches,
)


def reference_kernel(weight, refocus_weight, layout, map_size):
    blocks = reference_blocks(weight, layout.groups, layout.order, layout.transposed)
    kernels = [
        torch.stack(reference_refocus(slices, refocus_weight[number], map_size)).flatten(1)
        for number, slices in enumerate(blocks)
    ]
    return torch.stack(kernels)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_both_routes_equal_the_definition(case):
    layout, map_size, seed = case
    weight, refocus_weight = drawn(layout, map_size, seed)
    blocks = layout.to_blocks(weight)
    expected = reference_kernel(weight, refocus_weight, layout, map_size)
    unfolded = patches(blocks, layout.slice_size, map_size)
    by_patches = blocks + refocus_by_patches(refocus_weight, unfolded)
    by_convolution = blocks + refocus_by_convolution(refocus_weight, blocks, layout.slice_size, map_size)
    torch.testing.assert_close(by_patches, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_convolution, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_adjoint_and_gram_equal_autograd_and_definition(case):
    layout, map_size, seed = case
    weight, refocus_weight = drawn(layout, map_size, seed)
    blocks = layout.to_blocks(weight)
    unfolded = patches(blocks, layout.slice_size, map_size)
    refocus_weight.requires_grad_()
    gradient = torch.randn_like(blocks)
    refocus_by_convolution(refocus_weight, blocks, layout.slice_size, map_size).backward(gradient)
    torch.testing.assert_close(refocus_adjoint(gradient, unfolded), refocus_weight.grad, rtol=1e-12, atol=1e-12)
    slices = reference_blocks(weight, layout.groups, layout.order, layout.transposed)
    expected = torch.stack([reference_gram(block, map_size) for block in slices])
    torch.testing.assert_close(gram(unfolded), expected, rtol=1e-12, atol=1e-12)
    # moving R by -lr times its gradient moves the kernel by -lr g G: theorem (2) for a single step
    torch.testing.assert_close(refocus_weight.grad @ unfolded, gradient @ expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("groups", [2, 4])
def test_refocusing_equals_the_released_grouped_convolution(groups):
    """The published formula: one grouped convolution over the flattened slices, G = in * out / groups^2 groups."""
    out, in_ = 8, 4
    weight = torch.randn(out, in_ // groups, 3, 3, dtype=torch.float64)
    slices, released_groups = out * in_ // groups, out * in_ // groups**2
    maps = torch.randn(slices, slices // released_groups, 3, 3, dtype=torch.float64)
    image = weight.reshape(1, slices, 3, 3)
    released = torch.nn.functional.conv2d(image, maps, padding=1, groups=released_groups) + image
    layout = Layout(groups, out // groups, in_ // groups, (3, 3))
    blocks = layout.to_blocks(weight)
    ours = blocks + maps.reshape(layout.blocks, groups, -1) @ patches(blocks, (3, 3), (3, 3))
    torch.testing.assert_close(layout.from_blocks(ours), released.reshape(weight.shape), rtol=1e-12, atol=1e-12)
    flipped = blocks + maps.flip(-1, -2).reshape(layout.blocks, groups, -1) @ patches(blocks, (3, 3), (3, 3))
    assert not torch.allclose(layout.from_blocks(flipped), released.reshape(weight.shape))


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_layout_round_trip_restores_the_weight(case):
    layout, map_size, seed = case
    weight, _ = drawn(layout, map_size, seed)
    assert torch.equal(layout.from_blocks(layout.to_blocks(weight)), weight)


def test_orders_differ_for_grouped_and_agree_for_dense_and_depthwise():
    def kernel(groups, out, in_, order):
        layout = Layout(groups, out, in_, (3, 3), order=order)
        torch.manual_seed(0)
        weight = torch.randn(layout.weight_shape, dtype=torch.float64)
        b, m, _ = layout.block_shape
        refocus_weight = torch.randn(b, m, m * 9, dtype=torch.float64)
        blocks = layout.to_blocks(weight)
        return layout.from_blocks(refocus_weight @ patches(blocks, (3, 3), (3, 3)))

    assert torch.equal(kernel(1, 4, 3, "across"), kernel(1, 4, 3, "contiguous"))
    assert torch.equal(kernel(5, 1, 1, "across"), kernel(5, 1, 1, "contiguous"))
    assert not torch.allclose(kernel(2, 2, 2, "across"), kernel(2, 2, 2, "contiguous"))


def test_across_relates_different_groups_and_contiguous_stays_within_one():
    layout = Layout(groups=2, out_per_group=2, in_per_group=2, kernel_size=(1,))
    group_of_slice = torch.arange(2.0).repeat_interleave(4).reshape(4, 2, 1)
    contiguous = layout.to_blocks(group_of_slice)
    across = Layout(2, 2, 2, (1,), order="across").to_blocks(group_of_slice)
    assert all(len(set(block.flatten().tolist())) == 1 for block in contiguous)
    assert all(block.flatten().tolist() == [0.0, 1.0] for block in across)


@pytest.mark.parametrize("order", ["contiguous", "across"])
def test_transposed_weight_forms_the_blocks_of_the_equivalent_convolution(order):
    groups, out, in_ = 2, 3, 2
    ordinary = torch.randn(groups * out, in_, 3)
    stored = ordinary.reshape(groups, out, in_, 3).transpose(1, 2).reshape(groups * in_, out, 3)
    plain = Layout(groups, out, in_, (3,), order=order)
    transposed = Layout(groups, out, in_, (3,), transposed=True, order=order)
    assert torch.equal(plain.to_blocks(ordinary), transposed.to_blocks(stored))


def test_experts_are_kernels_of_their_own():
    single = Layout(groups=2, out_per_group=2, in_per_group=1, kernel_size=(3, 3))
    several = Layout(groups=2, out_per_group=2, in_per_group=1, kernel_size=(3, 3), experts=3)
    weights = [torch.randn(single.weight_shape) for _ in range(3)]
    stacked = torch.stack([weight.flatten() for weight in weights])
    assert several.weight_shape == tuple(stacked.shape)
    assert torch.equal(several.to_blocks(stacked), torch.cat([single.to_blocks(weight) for weight in weights]))
    assert torch.equal(several.from_blocks(several.to_blocks(stacked)), stacked)


@settings(max_examples=30, deadline=None)
@given(convolutions())
def test_mean_eigenvalue_equals_the_trace_of_the_gram(case):
    layout, map_size, seed = case
    blocks = layout.to_blocks(drawn(layout, map_size, seed)[0])
    metric = gram(patches(blocks, layout.slice_size, map_size))
    expected = torch.linalg.eigvalsh(metric).mean(-1)
    torch.testing.assert_close(mean_eigenvalue(blocks, layout.slice_size, map_size), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_shaped_patches_have_the_gram_to_that_power(power):
    torch.manual_seed(0)
    unfolded = patches(torch.randn(2, 4, 9, dtype=torch.float64), (3, 3), (3, 3))
    shaped = gram(shaped_patches(unfolded, power))
    torch.testing.assert_close(shaped, gram_power(gram(unfolded), power), rtol=1e-9, atol=1e-9)
    wrong = gram(unfolded @ gram_power(gram(unfolded), power / 2))  # the neighbouring formula: G^(power + 1)
    assert not torch.allclose(wrong, shaped)


def test_gram_power_of_whole_numbers_is_the_matrix_product():
    torch.manual_seed(0)
    metric = gram(torch.randn(1, 12, 5, dtype=torch.float64))
    torch.testing.assert_close(gram_power(metric, 2), metric @ metric)
    torch.testing.assert_close(gram_power(metric, -1), torch.linalg.inv(metric))


def test_gram_power_leaves_null_directions_out():
    base = torch.tensor([[[1.0, 0.0, 0.0]]], dtype=torch.float64)
    projector = gram_power(gram(base), 0)
    torch.testing.assert_close(projector[0], torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("kernel_size", "map_size", "expected"),
    [((3, 3), 3, (3, 3)), ((1, 11), 3, (1, 3)), ((2, 2), 5, (3, 3)), ((3, 3), 7, (5, 5)), ((8, 1), (5, 3), (5, 1))],
)
def test_effective_map_size_is_cut_to_the_kernel(kernel_size, map_size, expected):
    assert effective_map_size(kernel_size, map_size) == expected


def test_effective_map_size_loses_no_shift_that_acts():
    """A map beyond 2 K - 1 only adds shifts that leave nothing of the slice."""
    blocks = torch.ones(1, 1, 3)
    wide = patches(blocks, (3,), (9,))[0]
    assert wide.any(1).tolist() == [False, False, True, True, True, True, True, False, False]


@pytest.mark.parametrize("map_size", [2, 0, -1, (3, 4), (3,), (3, 3, 3), (3.0, 3.0)])
def test_effective_map_size_refuses_what_has_no_centre_or_other_dimensions(map_size):
    with pytest.raises(SettingError, match="map_size: "):
        effective_map_size((3, 3), map_size)


def test_layout_refuses_an_unknown_order():
    with pytest.raises(SettingError, match="order: unknown order; expected contiguous or .*, found 'sideways'"):
        Layout(1, 1, 1, (3,), order="sideways")
