"""Principal components and the shift between models, against constructions with known answers."""

import copy
import math

import pytest
import torch
from torch import nn

from refconv.analysis.measures.patterns import filter_components, principal_components, scaled, shifts
from refconv.errors import ModelError
from refconv.measures.kernels import FilterComponents


def depthwise(slices):
    conv = nn.Conv2d(len(slices), len(slices), 3, groups=len(slices), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices.reshape(-1, 1, 3, 3))
    return conv


def drawn(n, k=9, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(first, second):
    (row,) = filter_components(depthwise(first), depthwise(second)).sizes
    return row


def test_slices_are_scaled_by_their_own_largest_entry():
    rows = torch.tensor([[2.0, -4.0], [0.5, 0.0], [0.0, 0.0]])
    assert scaled(rows).tolist() == [[0.5, -1.0], [1.0, 0.0], [0.0, 0.0]]


def test_one_pattern_is_one_component():
    """Slices +-c u with max |u| = 1: scaled they are +-u, so u is the only component."""
    pattern = drawn(1)[0]
    pattern = pattern / pattern.abs().max()
    slices = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None] * pattern
    row = measured(slices, slices)
    assert row.explained == pytest.approx([1] + [0] * 8, abs=1e-12)
    expected = pattern / pattern.norm() * pattern[pattern.abs().argmax()].sign()
    assert row.components[0] == pytest.approx(expected.tolist())


def test_components_are_those_of_the_singular_value_decomposition():
    rows = drawn(60) @ drawn(9, seed=1) + 3
    explained, components = principal_components(rows)
    _, values, vectors = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    torch.testing.assert_close(explained, values.square() / values.square().sum())
    torch.testing.assert_close((components * vectors).sum(1).abs(), torch.ones(9, dtype=torch.float64))
    uncentred = torch.linalg.svdvals(rows).square()
    assert not torch.allclose(explained, uncentred / uncentred.sum(), rtol=0.01)


def test_shift_of_two_levels_by_hand():
    """Coefficients in two bins, three to one against one to one: sum (p - q) log(p / q) = (1/4) log 3."""
    first = torch.tensor([[0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    second = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert float(shifts(first, second, 0, 1)) == pytest.approx(math.log(3) / 4, rel=1e-6)
    assert float(shifts(second, first, 0, 1)) == pytest.approx(math.log(3) / 4, rel=1e-6)
    one_way = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(shifts(first, second, 0, 1)) != pytest.approx(one_way, rel=0.1)
    assert float(shifts(first, first, 0, 1)) == 0


def test_shift_is_weighted_by_explained_variance():
    row = measured(drawn(200), drawn(200, seed=1) * torch.linspace(0.2, 2, 9, dtype=torch.float64))
    weighted = sum(e * s for e, s in zip(row.explained, row.shift_of_components, strict=True))
    assert row.shift == pytest.approx(weighted)
    assert row.shift != pytest.approx(sum(row.shift_of_components) / 9, rel=0.01)


def test_the_same_slices_have_no_shift_and_scale_does_not_count():
    slices = drawn(100)
    assert (measured(slices, slices).shift, measured(slices, slices).chance) == (0, 0)
    factors = torch.rand(100, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.5
    assert measured(slices, slices * factors).shift == pytest.approx(0, abs=1e-9)


def test_draws_of_one_distribution_shift_about_as_chance_says_and_other_distributions_more():
    same = measured(drawn(4000), drawn(4000, seed=1))
    assert same.shift == pytest.approx(same.chance, rel=0.5)
    smooth = torch.full((9, 9), 0.3, dtype=torch.float64) + torch.eye(9, dtype=torch.float64)
    other = measured(drawn(4000), drawn(4000, seed=1) @ smooth)
    assert other.shift > 20 * other.chance


def test_chance_knows_that_slices_come_in_pairs():
    """Every tenth slice drawn anew: the shift is far below that of independent draws, and so is chance."""
    slices = drawn(2000)
    redrawn = torch.where(torch.arange(2000)[:, None] % 10 == 0, drawn(2000, seed=1), slices)
    paired, independent = measured(slices, redrawn), measured(slices, drawn(2000, seed=1))
    assert paired.chance < 0.3 * independent.chance
    assert paired.shift == pytest.approx(paired.chance, rel=0.7)


def test_many_slices_are_sampled_alike_over_layers(monkeypatch):
    monkeypatch.setattr("refconv.analysis.measures.patterns._MOST", 9 * 50)
    before = nn.Sequential(depthwise(drawn(80)), depthwise(drawn(70, seed=1)))
    after = copy.deepcopy(before)
    (row,) = filter_components(before, after).sizes
    assert (row.layers, row.slices, row.sampled, row.shift) == (2, 150, 50, 0)


def test_sizes_are_kept_apart():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 8, 5), nn.Conv2d(8, 4, (1, 3)))
    rows = filter_components(model, model).sizes
    assert [row.kernel_size for row in rows] == [(1, 3), (5, 5), (3, 3)]
    assert [len(row.explained) for row in rows] == [3, 25, 9]
    assert [len(row.components) for row in rows] == [3, 9, 9]


@pytest.mark.parametrize("slices", [torch.zeros(6, 9), torch.ones(1, 9)], ids=["zeros", "one slice"])
def test_slices_without_variance_have_no_shift(slices):
    row = measured(slices, slices)
    assert row.shift == 0
    assert sum(row.explained) == 0


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = filter_components(*trained_pair)
    assert state.unchanged()
    assert {row.kernel_size: row.layers for row in found.sizes} == {(3, 3): 2, (5, 5): 1, (1, 4): 1}
    assert all(row.shift > 0 for row in found.sizes)
    assert all(sum(row.explained_after) == pytest.approx(1) for row in found.sizes)
    assert FilterComponents.from_json(found.to_json()) == found
    assert "by chance" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        filter_components(trained_pair[0], nn.Conv2d(1, 1, 3))
