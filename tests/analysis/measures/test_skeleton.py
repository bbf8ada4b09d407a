"""Kernel skeletons against ratios by hand, in one to three dimensions."""

import pytest
import torch
from torch import nn

from refconv.analysis.measures.kernels import central_cross, skeletons
from refconv.errors import ModelError
from refconv.measures.kernels import Skeletons


def convolution(slices):
    """A dense convolution of one input channel with the given slices [out, *kernel_size]."""
    kind = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}[slices.ndim]
    conv = kind(1, len(slices), tuple(slices.shape[1:]), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices[:, None])
    return conv


def measured(slices):
    conv = convolution(torch.as_tensor(slices, dtype=torch.float64))
    return skeletons(conv, conv).layers[0].after


def test_a_pure_cross_has_all_its_mass_on_the_cross():
    found = measured([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]])
    assert (found.cross, found.corners, found.ratio, found.cross_share) == (1, 0, None, 1)


def test_ratio_by_hand_with_signs_of_both_kinds():
    """Slices [1 -2 1; 2 -4 2; 1 -2 1] and its negative: A = [.25 .5 .25; .5 1 .5; ...]: cross 3 / 5, corners 1 / 4."""
    slice_ = torch.tensor([[1, -2, 1], [2, -4, 2], [1, -2, 1]])
    found = measured(torch.stack([slice_, -slice_]))
    assert found.magnitudes == (0.25, 0.5, 0.25, 0.5, 1, 0.5, 0.25, 0.5, 0.25)
    assert (found.cross, found.corners) == pytest.approx((0.6, 0.25))
    assert found.ratio == pytest.approx(2.4)
    assert found.cross_share == pytest.approx(3 / 4)
    # the neighbouring formula, the magnitude of the mean, would see nothing at all
    assert torch.stack([slice_, -slice_]).double().mean(0).abs().max() == 0


def test_a_constant_kernel_has_ratio_one_and_the_share_of_taps():
    found = measured(torch.ones(2, 5, 5))
    assert found.ratio == pytest.approx(1)
    assert found.cross_share == pytest.approx(9 / 25)


@pytest.mark.parametrize(
    ("size", "taps"),
    [((3,), 1), ((4,), 2), ((3, 3), 5), ((7, 7), 13), ((4, 4), 12), ((1, 11), 1), ((3, 3, 3), 7), ((2, 2), 4)],
    ids=str,
)
def test_the_cross_has_the_taps_that_one_counts(size, taps):
    assert int(central_cross(size).sum()) == taps


def test_the_cross_of_three_dimensions_is_three_lines_and_not_three_planes():
    mask = central_cross((3, 3, 3))
    assert mask[1, 1, 1]
    assert mask[0, 1, 1]
    assert not mask[0, 0, 1]  # on a central plane, off the lines
    assert not mask[0, 0, 0]


def test_one_dimension_sets_the_centre_against_the_ends():
    found = measured([[1.0, 4.0, 1.0]])
    assert (found.cross, found.corners, found.ratio) == (1, 0.25, 4)
    lying = measured([[[1.0, 4.0, 1.0]]])  # 1 x 3
    assert lying == found


def test_kernels_without_corners_have_no_ratio_and_kernels_of_zeros_no_skeleton():
    found = measured(torch.ones(1, 2, 2))
    assert (found.corners, found.ratio, found.cross_share) == (None, None, 1)
    assert measured(torch.zeros(1, 3, 3)) is None
    zero = convolution(torch.zeros(1, 3, 3))
    record = skeletons(zero, zero)
    assert (record.sizes, record.stronger) == ((), None)
    assert "-" in str(record)


def test_layers_of_one_kernel_size_count_alike_whatever_their_scale_and_number_of_slices():
    flat, peaked = torch.ones(1, 3, 3), torch.full((9, 3, 3), 0.5)
    peaked[:, 1, 1] = 1
    model = nn.Sequential(convolution(flat * 100), convolution(peaked), convolution(torch.ones(1, 5, 5)))
    small, large = skeletons(model, model).sizes
    assert (small.kernel_size, small.layers, large.layers) == ((3, 3), 2, 1)
    assert small.after.magnitudes == pytest.approx([0.75] * 4 + [1] + [0.75] * 4)
    assert small.after.ratio == pytest.approx((4 * 0.75 + 1) / 5 / 0.75)


def test_stronger_skeletons_are_counted():
    flat = torch.ones(1, 3, 3)
    cross = torch.where(central_cross((3, 3)), 2.0, 1.0)[None]
    before = nn.Sequential(convolution(flat), convolution(cross))
    after = nn.Sequential(convolution(cross), convolution(cross))
    assert skeletons(before, after).stronger == 0.5
    assert skeletons(after, before).stronger == 0


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = skeletons(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert {row.kernel_size for row in found.sizes} == {(3, 3), (5, 5), (1, 4)}
    assert all(row.before != row.after for row in found.layers)
    assert Skeletons.from_json(found.to_json()) == found
    assert "skeleton stronger in" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        skeletons(trained_pair[0], nn.Conv2d(1, 1, 3))
