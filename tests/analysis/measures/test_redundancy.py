"""Channel redundancy against closed forms: equal, orthogonal, shifted and scaled kernels."""

import copy
import math

import pytest
import torch
from torch import nn

from refconv.analysis.measures.filters import (
    divergences,
    effective_rank,
    mean_absolute_cosine,
    mean_off_diagonal,
    redundancy,
)
from refconv.errors import ModelError
from refconv.measures.redundancy import Redundancy


def depthwise(slices):
    """A depthwise convolution whose kernels are the given slices [channels, 3, 3]."""
    conv = nn.Conv2d(len(slices), len(slices), 3, groups=len(slices), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices[:, None])
    return conv


def drawn(channels=6, seed=0):
    return torch.randn(channels, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_kernels_are_wholly_redundant():
    conv = depthwise(drawn(1).expand(5, 3, 3))
    (row,) = redundancy(conv, conv).layers
    assert row.after.divergence == pytest.approx(0, abs=1e-12)
    assert row.after.cosine == pytest.approx(1)
    assert row.after.effective_rank == pytest.approx(1)
    assert row.after.matrix == ((0.0,) * 5,) * 5


def test_orthogonal_kernels_have_no_cosine_and_full_rank():
    """Unit kernels e_i: every softmax is one of e / (e + 8) and eight of 1 / (e + 8), so D = (e - 1) / (e + 8)."""
    conv = depthwise(torch.eye(9, dtype=torch.float64).reshape(9, 3, 3))
    (row,) = redundancy(conv, conv).layers
    assert row.before.cosine == pytest.approx(0, abs=1e-12)
    assert row.before.effective_rank == pytest.approx(9)
    assert row.before.divergence == pytest.approx((math.e - 1) / (math.e + 8))


def test_divergence_is_that_of_torch_pair_by_pair_and_not_of_the_neighbouring_formulas():
    filters = drawn().reshape(6, 9)
    found = divergences(filters)
    logs = filters.log_softmax(1)
    for i in range(6):
        for j in range(6):
            # kl_div(input, target) is KL(target || input)
            expected = nn.functional.kl_div(logs[j], logs[i], reduction="sum", log_target=True)
            torch.testing.assert_close(found[i, j], expected, atol=1e-14, rtol=1e-12)
    assert not torch.allclose(found, found.mT)  # the direction matters
    magnitudes = (filters.abs() / filters.abs().sum(1, keepdim=True)).log()
    assert not torch.allclose(found, (magnitudes.exp()[:, None] * (magnitudes[:, None] - magnitudes)).sum(-1))


def test_mean_over_ordered_pairs_is_the_mean_of_the_symmetric_divergence():
    found = divergences(drawn().reshape(6, 9))
    symmetric = (found + found.mT) / 2
    upper = symmetric[torch.triu_indices(6, 6, 1).unbind()]
    assert mean_off_diagonal(found) == pytest.approx(float(upper.mean()))
    assert mean_off_diagonal(found) != pytest.approx(float(found.mean()))


def test_a_constant_added_to_a_kernel_changes_no_divergence_but_the_cosine():
    before = depthwise(drawn())
    after = depthwise(drawn() + torch.arange(6, dtype=torch.float64)[:, None, None])
    found = redundancy(before, after)
    (row,) = found.layers
    assert row.after.divergence == pytest.approx(row.before.divergence, rel=1e-10)
    assert row.after.cosine > row.before.cosine + 0.1


def test_growth_alone_raises_the_divergence_but_not_the_scaled_one():
    found = redundancy(depthwise(drawn() * 0.1), depthwise(drawn() * 0.2))
    (row,) = found.layers
    assert row.after.divergence / row.before.divergence == pytest.approx(4, rel=0.2)
    assert row.after.scaled_divergence == pytest.approx(row.before.scaled_divergence)
    assert (row.after.cosine, row.after.effective_rank) == pytest.approx((row.before.cosine, row.before.effective_rank))
    assert found.less_redundant == 1


def test_effective_rank_weighs_singular_values_and_not_their_squares():
    matrix = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert effective_rank(matrix) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert effective_rank(matrix) != pytest.approx(math.exp(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1))))
    tall = drawn(40).reshape(40, 9)
    shares = torch.linalg.svdvals(tall)
    shares = shares / shares.sum()
    assert effective_rank(tall) == pytest.approx(float((-(shares * shares.log()).sum()).exp()))


def test_channels_of_zeros_and_single_channels_have_no_cosine():
    filters = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert mean_absolute_cosine(filters) == pytest.approx(1)
    assert mean_absolute_cosine(filters[:2]) is None
    (row,) = redundancy(depthwise(torch.zeros(3, 3, 3)), depthwise(torch.zeros(3, 3, 3))).layers
    assert (row.before.divergence, row.before.cosine, row.before.effective_rank) == (0, None, None)
    found = redundancy(nn.Conv2d(2, 1, 3), nn.Conv2d(2, 1, 3))
    assert found.layers[0].before.divergence is None
    assert found.less_redundant is None
    assert "conv" not in str(found)


def test_large_layers_are_sampled_alike_in_both_models():
    before, after = depthwise(drawn(40)), depthwise(drawn(40, seed=1))
    (row,) = redundancy(before, after, channels=10, shown=4).layers
    assert (row.channels, row.sampled, len(row.shown)) == (40, 10, 4)
    rows = drawn(40).reshape(40, 9)[list(row.shown)]
    torch.testing.assert_close(torch.tensor(row.before.matrix).double(), divergences(rows), rtol=1e-3, atol=1e-12)
    (same,) = redundancy(before, copy.deepcopy(before), channels=10, shown=4).layers
    assert same.before == same.after == row.before


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = redundancy(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert all(row.before != row.after for row in found.layers)
    assert found.divergence[1] == pytest.approx(sum(row.after.divergence for row in found.layers) / 4)
    assert Redundancy.from_json(found.to_json()) == found
    assert "mean over layers" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        redundancy(trained_pair[0], nn.Conv2d(1, 1, 3))
