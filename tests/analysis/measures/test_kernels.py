"""Kernels to look at: the stored taps themselves, the same slices in both models."""

import copy

import pytest
import torch
from torch import nn

from refconv import analysis
from refconv.errors import SettingError


def test_taps_are_those_of_the_weight_to_four_digits(trained_pair):
    before, after = trained_pair
    found = {row.layer: row for row in analysis.kernels(before, after, shown=5).layers}
    row = found["stem"]
    assert (row.kind, row.kernel_size, row.slices, len(row.chosen)) == ("dense", (3, 3), 24, 5)
    assert len(set(row.chosen)) == 5
    assert list(row.chosen) == sorted(row.chosen)
    for values, model in ((row.before, before), (row.after, after)):
        stored = model.stem.weight.detach().double().reshape(24, 9)[list(row.chosen)]
        torch.testing.assert_close(torch.tensor(values, dtype=torch.float64), stored, rtol=5e-4, atol=0)
        assert all(f"{value:.12g}" == f"{value:.4g}" for taps in values for value in taps)
    assert row.before != row.after


def test_a_transposed_kernel_counts_slices_by_output_channel():
    model = nn.ConvTranspose2d(2, 4, 3, groups=2, bias=False)  # stored [in, out / groups, 3, 3]
    (row,) = analysis.kernels(model, model).layers
    stored = model.weight.detach().double()
    expected = torch.stack([stored[0, 0], stored[0, 1], stored[1, 0], stored[1, 1]]).reshape(4, 9)
    torch.testing.assert_close(torch.tensor(row.after, dtype=torch.float64), expected, rtol=5e-4, atol=0)


def test_the_sample_belongs_to_the_seed(trained_pair):
    first, again = (analysis.kernels(*trained_pair, shown=3) for _ in range(2))
    other = analysis.kernels(*trained_pair, shown=3, seed=1)
    assert first == again
    assert first.layers[0].chosen != other.layers[0].chosen


def test_a_layer_that_fits_is_given_whole():
    model = nn.Conv3d(1, 2, (1, 3, 2))
    (row,) = analysis.kernels(model, copy.deepcopy(model)).layers
    assert (row.chosen, row.kernel_size, len(row.after[0])) == ((0, 1), (1, 3, 2), 6)


def test_no_slice_is_refused():
    with pytest.raises(SettingError, match="shown: too few; expected 1 or more, found 0"):
        analysis.kernels(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), shown=0)
