"""Filter statistics against closed forms and the paper's own fit for 3 x 3 kernels."""

import copy
import math

import pytest
import torch
from torch import nn

from refconv.analysis.measures.filters import filter_statistics, random_threshold, sparse_slices, variance_entropy
from refconv.errors import ModelError
from refconv.measures.filters import FilterStatistics


def depthwise(slices):
    conv = nn.Conv2d(len(slices), len(slices), 3, groups=len(slices), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices.reshape(-1, 1, 3, 3))
    return conv


def drawn(n, k=9, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(slices):
    conv = depthwise(slices)
    return filter_statistics(conv, conv).layers[0].after


def test_slices_of_one_pattern_are_narrow():
    lengths = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    found = measured(lengths * drawn(1))
    assert found.variance_entropy == pytest.approx(0, abs=1e-12)
    assert found.degenerate == "narrow"
    assert found.orthogonality == pytest.approx(0, abs=1e-12)


def test_orthogonal_filters_that_spread_alike_have_the_largest_values():
    both_signs = torch.cat([torch.eye(9), -torch.eye(9)]).double()
    assert variance_entropy(both_signs) == pytest.approx(math.log10(9))
    assert measured(torch.eye(9).double()).orthogonality == pytest.approx(1)
    # each filter has one other that is parallel, among 17
    assert measured(both_signs).orthogonality == pytest.approx(1 - 1 / 17)


def test_entropy_is_that_of_variances_about_the_mean():
    """Two directions with variances 3 to 1, and a common offset that does not count."""
    pattern = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    slices = pattern * torch.tensor([math.sqrt(3), 1.0])
    expected = -(0.75 * math.log10(0.75) + 0.25 * math.log10(0.25))
    assert variance_entropy(slices + 5) == pytest.approx(expected)
    shares = torch.tensor([math.sqrt(3), 1]) / (math.sqrt(3) + 1)  # deviations in place of variances
    assert expected != pytest.approx(float(-(shares * shares.log10()).sum()), rel=0.05)


def test_entropy_agrees_with_singular_values():
    slices = drawn(50) @ drawn(9, seed=1)
    values = torch.linalg.svdvals(slices - slices.mean(0)).square()
    ratios = values / values.sum()
    assert variance_entropy(slices) == pytest.approx(float(-(ratios * ratios.log10()).sum()))


def test_equal_slices_have_no_entropy():
    assert variance_entropy(drawn(1).expand(30, 9)) is None
    assert measured(drawn(1).expand(30, 9)).degenerate == "narrow"


def test_sparsity_counts_slices_at_one_percent_of_the_largest_entry():
    slices = torch.zeros(4, 9, dtype=torch.float64)
    slices[0, 0] = -1
    slices[1] = 0.0099
    slices[2, 3] = 0.011  # one entry above is enough
    assert sparse_slices(slices).tolist() == [False, True, False, True]
    assert measured(slices).sparsity == 0.5
    assert sparse_slices(torch.zeros(3, 9)).all()
    assert measured(torch.zeros(3, 9)).degenerate == "sparse"


@pytest.mark.parametrize("n", [16, 32, 64, 256, 4096])
def test_random_threshold_is_near_the_fit_of_the_paper(n):
    """The fit of CNN Filter DB (arXiv 2203.15331): L / (1 + exp(-k (log2 n - x0))) + b for 3 x 3 kernels."""
    fitted = 1.26 / (1 + math.exp(-0.89 * (math.log2(n) - 2.30))) - 0.31
    assert random_threshold(n, 9) == pytest.approx(fitted, rel=0.03)


@pytest.mark.parametrize(("n", "k"), [(30, 9), (200, 9), (60, 25), (3000, 25)])
def test_drawn_layers_reach_the_random_threshold_and_smooth_ones_do_not(n, k):
    reached = [variance_entropy(drawn(n, k, seed)) >= random_threshold(n, k) for seed in range(1, 21)]
    assert sum(reached) >= 19
    smooth = drawn(n, k, 0) @ (torch.ones(k, k, dtype=torch.float64) / k + 0.3 * torch.eye(k, dtype=torch.float64))
    assert variance_entropy(smooth) < random_threshold(n, k)


def test_layers_with_few_slices_are_not_judged_and_summaries_weigh_slices():
    dense = nn.Conv2d(1, 4, 3, bias=False)
    assert filter_statistics(dense, dense).layers[0].random_threshold is None
    half_sparse = drawn(30)
    half_sparse[:15] = 0
    model = nn.Sequential(depthwise(half_sparse), depthwise(drawn(60)))
    found = filter_statistics(model, model)
    assert [row.after.degenerate for row in found.layers] == [None, "random"]
    assert found.sparsity == (15 / 90, 15 / 90)
    assert found.degenerate_layers == (0.5, 0.5)
    assert found.degenerate_slices == pytest.approx(((15 + 60) / 90,) * 2)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = filter_statistics(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert all(row.before != row.after for row in found.layers)
    assert FilterStatistics.from_json(found.to_json()) == found
    assert "degenerate layers" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        filter_statistics(trained_pair[0], nn.Conv2d(1, 1, 3))


def test_zeros_are_counted_before_and_after():
    before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4))
    with torch.no_grad():
        before[0].weight[0, 0, 0] = 0  # 3 of 108 entries, and none of 36
    after = copy.deepcopy(before)
    with torch.no_grad():
        after[0].weight[0, 0, 0, 0] = 1
    found = filter_statistics(before, after)
    assert found.zeros == pytest.approx((3 / 144, 2 / 144))
    assert [layer.before.zeros for layer in found.layers] == pytest.approx([3 / 108, 0])
    assert "zeros 2.08% -> 1.39%" in str(found)
    assert FilterStatistics.from_json(found.to_json()) == found
    assert "zeros" not in str(filter_statistics(*[nn.Conv2d(2, 2, 3)] * 2))
