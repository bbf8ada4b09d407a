"""Refocus weights recovered from pairs of models: planted ones, trained ones, and what is out of reach."""

import copy
import math

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, randomise
from ops_reference import reference_blocks, reference_refocus
from refconv.analysis.measures.grams import channel_strengths, relations
from refconv.errors import ModelError
from refconv.measures.refocusing import Relations
from refconv.ops import patches


def convolution(weight, groups=1):
    """A convolution of one or two dimensions with a given weight."""
    out, inner, *size = weight.shape
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[len(size)](inner * groups, out, tuple(size), groups=groups, bias=False)
    with torch.no_grad():
        conv.double().weight.copy_(weight)
    return conv


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def refocused(base, weight):
    """A depthwise layer before and after refocusing by R, by the loop version."""
    (slices,) = reference_blocks(base, len(base), "contiguous")
    kernels = torch.stack(reference_refocus(slices, weight, (3, 3)))
    return convolution(base, len(base)), convolution(kernels[:, None], len(base))


def test_a_planted_refocus_weight_is_recovered_where_patches_are_independent():
    """Two slices of 5 x 5 give 18 patches in 25 dimensions: no other R gives the same kernels."""
    planted = drawn(2, 2 * 9, seed=1)
    (row,) = relations(*refocused(drawn(2, 1, 5, 5), planted), scale="paper").layers
    expected = planted.reshape(2, 2, 9).norm(dim=-1)
    torch.testing.assert_close(torch.tensor(row.matrix).double(), expected, rtol=1e-3, atol=0)
    assert row.norm == pytest.approx(float(planted.norm()))
    assert row.residual == pytest.approx(0, abs=1e-10)
    assert row.own == pytest.approx(float(expected.diagonal().square().sum() / expected.square().sum()))
    assert row.partners == pytest.approx(1)
    transposed = expected.mT
    assert not torch.allclose(torch.tensor(row.matrix).double(), transposed, rtol=0.01)  # who draws is the row


def test_a_planted_refocus_weight_is_recovered_up_to_its_null_space():
    """Six slices of 3 x 3 give 54 patches in 9 dimensions: what is left of R is its projection on their row space."""
    base, planted = drawn(6, 1, 3, 3), drawn(6, 6 * 9, seed=1)
    (row,) = relations(*refocused(base, planted), scale="paper").layers
    p = patches(base.reshape(1, 6, 9), (3, 3), (3, 3))[0]
    projected = planted @ p @ torch.linalg.pinv(p)
    torch.testing.assert_close(
        torch.tensor(row.matrix).double(), projected.reshape(6, 6, 9).norm(dim=-1), rtol=1e-3, atol=0
    )
    assert row.norm == pytest.approx(float(projected.norm()))
    assert row.norm < 0.9 * float(planted.norm())
    assert row.residual == pytest.approx(0, abs=1e-10)


def test_one_relation_is_the_strongest_and_the_only_partner():
    planted = torch.zeros(2, 2 * 9, dtype=torch.float64)
    planted[1, 4] = -0.5  # slice 1 draws on slice 0, unshifted
    (row,) = relations(*refocused(drawn(2, 1, 5, 5), planted), scale="paper").layers
    assert [(found.channel, found.source) for found in row.strongest[:1]] == [(1, 0)]
    assert row.strongest[0].strength == pytest.approx(0.5)
    assert row.own == pytest.approx(0, abs=1e-12)
    assert row.slice_norms[-1] == pytest.approx(0.5)


def test_equal_strengths_have_all_others_for_partners():
    """Slices that are orthogonal under all shifts: a map of one tap, R all alike."""
    base = torch.eye(4, 9, dtype=torch.float64).reshape(4, 1, 3, 3)
    after = base + 0.1 * torch.ones(4, 4, dtype=torch.float64).matmul(base.reshape(4, 9)).reshape(4, 1, 3, 3)
    (row,) = relations(convolution(base, 4), convolution(after, 4), map_size=1).layers
    assert row.partners == pytest.approx(3)
    assert row.own == pytest.approx(row.own_if_even) == pytest.approx(0.25)
    assert row.matrix == ((0.1,) * 4,) * 4


def test_what_the_patches_do_not_reach_is_the_residual():
    """A dense slice of 5 x 5: nine shifts in 25 dimensions, against least squares slice by slice."""
    base, after = drawn(4, 3, 5, 5), drawn(4, 3, 5, 5, seed=1)
    (row,) = relations(convolution(base), convolution(after), scale="paper").layers
    p = patches(base.reshape(12, 1, 25), (5, 5), (3, 3))
    d = (after - base).reshape(12, 25, 1)
    weight = torch.linalg.lstsq(p.mT, d).solution
    assert row.residual == pytest.approx(float((d - p.mT @ weight).norm() / d.norm()))
    assert row.slice_norms[2] == pytest.approx(float(weight.norm(dim=1).quantile(0.5)))
    assert (row.own, row.partners, row.matrix, row.strongest) == (pytest.approx(1), None, (), ())


@pytest.mark.parametrize("order", ["contiguous", "across"])
def test_grouped_layers_relate_the_channels_of_their_blocks(order):
    """R of every block, by hand from the pseudo-inverse, gathered by channel in a loop."""
    groups, weight = 3, drawn(6, 2, 4, 4)
    after = weight + 0.1 * drawn(6, 2, 4, 4, seed=1)
    (row,) = relations(convolution(weight, groups), convolution(after, groups), order=order, scale="paper").layers
    numbers = torch.arange(6, dtype=torch.float64)[:, None, None, None].expand(6, 2, 4, 4)
    squares = torch.zeros(6, 6, dtype=torch.float64)
    for slices, ends, channels in zip(
        *(reference_blocks(value, groups, order) for value in (weight, after, numbers)), strict=True
    ):
        b, e = (torch.stack(part).reshape(1, groups, 16) for part in (slices, ends))
        r = ((e - b) @ torch.linalg.pinv(patches(b, (4, 4), (3, 3))))[0].reshape(groups, groups, 9)
        for i in range(groups):
            for j in range(groups):
                squares[int(channels[i][0, 0]), int(channels[j][0, 0])] += r[i, j].square().sum()
    torch.testing.assert_close(torch.tensor(row.matrix).double(), squares.sqrt(), rtol=1e-3, atol=1e-12)
    assert (row.blocks, row.slices) == (4, 3)


def test_channels_gather_root_sums_of_squares():
    strengths = torch.tensor([[[3.0, 1.0], [2.0, 0.0]], [[4.0, 0.0], [0.0, 0.0]]])
    found = channel_strengths(strengths, torch.tensor([[0, 1], [0, 2]]), 3)
    assert found.tolist() == [[5.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("settings", [{}, {"scale": "normalized"}, {"order": "across"}, {"map_size": 5}], ids=str)
def test_what_refocusing_did_is_within_reach_under_its_own_settings(settings):
    torch.manual_seed(0)
    before = EveryKind().double()
    model = copy.deepcopy(before)
    refconv.refocus(model, **settings)
    randomise(model)
    found = relations(before, refconv.merged(model), **settings)
    assert all(row.residual < 1e-6 for row in found.layers)


def test_gradient_space_leaves_the_refocus_weight_to_be_recovered(trained_pair):
    """From R = 0, descent in gradient space keeps R in the rows of P^T: the optimizer's own R is the one found."""
    before = copy.deepcopy(trained_pair[0]).double()
    model = copy.deepcopy(before)
    optimizer = refconv.RefocusSGD(refconv.param_groups(model), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 20, 20, generator=generator, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    rows = {row.layer: row for row in relations(before, model).layers}
    for layer, row in rows.items():
        assert row.residual < 1e-6
        assert row.norm == pytest.approx(float(optimizer.refocus_weight(layer).norm()), rel=1e-6)


def test_what_did_not_move_relates_to_nothing():
    model = EveryKind()
    found = relations(model, copy.deepcopy(model))
    for row in found.layers:
        assert (row.norm, row.residual, row.own, row.partners, row.strongest) == (0, None, None, None, ())
    assert found.residual is None
    assert "- of the movement" in str(found)


def test_large_layers_show_a_sample_and_name_the_strongest_of_all():
    base, planted = drawn(20, 1, 3, 3), drawn(20, 20 * 9, seed=1)
    pair = refocused(base, planted)
    (row,) = relations(*pair, shown=5, strongest=3).layers
    (whole,) = relations(*pair, shown=20, strongest=3).layers
    assert (len(row.shown), len(row.matrix), len(row.strongest)) == (5, 5, 3)
    assert row.strongest == whole.strongest
    assert row.matrix[0][1] == whole.matrix[row.shown[0]][row.shown[1]]
    assert math.isclose(row.norm, whole.norm)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = relations(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert all(0 <= row.residual <= 1 for row in found.layers)
    assert Relations.from_json(found.to_json()) == found
    assert "own share" in str(found)


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        relations(trained_pair[0], nn.Conv2d(1, 1, 3))
