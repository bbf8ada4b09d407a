"""Movement between models: distances by hand, directions planted along eigenvectors of the Gram."""

import copy
import math

import pytest
import torch
from torch import nn

from networks import EveryKind
from ops_reference import reference_gram
from refconv.analysis.measures.grams import alignment, movement
from refconv.errors import ModelError
from refconv.measures.refocusing import Movement


def depthwise(slices):
    conv = nn.Conv2d(len(slices), len(slices), 3, groups=len(slices), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices.reshape(-1, 1, 3, 3))
    return conv


def drawn(n=6, seed=0):
    return torch.randn(n, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved_along(base, direction):
    """The same layer, every slice moved along one pattern of nine taps by its own amount."""
    (row,) = movement(depthwise(base), depthwise(base + drawn(len(base), seed=5)[:, :1] * direction)).layers
    return row


def eigen(base):
    return torch.linalg.eigh(reference_gram(list(base.reshape(-1, 3, 3)), (3, 3)))


def test_distance_and_cosine_by_hand():
    base = torch.zeros(1, 9)
    base[0, 0] = 3
    after = torch.zeros(1, 9)
    after[0, 1] = 4
    model = nn.Sequential(depthwise(base.expand(2, 9)), depthwise(base.expand(2, 9)))
    changed = nn.Sequential(depthwise(after.expand(2, 9)), depthwise(-base.expand(2, 9)))
    found = movement(model, changed)
    assert [row.relative for row in found.layers] == pytest.approx([5 / 3, 2])
    assert [row.cosine for row in found.layers] == pytest.approx([0, -1])
    assert found.relative == pytest.approx(math.sqrt((25 + 36) / 18))
    assert found.cosine == pytest.approx(-9 / math.sqrt(18 * (16 + 9)))


def test_a_movement_along_an_eigenvector_is_aligned_by_its_eigenvalue():
    base = drawn()
    values, vectors = eigen(base)
    for number in (0, 4, 8):
        row = moved_along(base, vectors[:, number])
        assert row.alignment == pytest.approx(float(values[number] / values.mean()))
        assert row.leading == pytest.approx(float(number >= 9 - round(row.leading_isotropic * 9)))
    held = values.flip(0).cumsum(0) / values.sum()
    needed = int((held < 0.5).sum()) + 1
    assert row.leading_isotropic == pytest.approx(needed / 9)


def test_a_movement_with_all_directions_alike_is_isotropic():
    """Nine slices moved along the nine unit patterns, whatever the base: <D, D G> is the trace of G."""
    base = drawn(9)
    (row,) = movement(depthwise(base), depthwise(base + torch.eye(9))).layers
    assert row.alignment == pytest.approx(1)
    assert row.leading == pytest.approx(row.leading_isotropic)


def test_a_step_in_gradient_space_is_more_aligned_than_a_plain_one():
    """The gradient g and g G: along eigenvectors, weights e^3 over e^2 beat e over 1 for positive semidefinite G."""
    base, gradient = drawn(), drawn(seed=1)
    gram = reference_gram(list(base.reshape(-1, 3, 3)), (3, 3))
    plain = movement(depthwise(base), depthwise(base - 1e-2 * gradient)).layers[0]
    refocused = movement(depthwise(base), depthwise(base - 1e-3 * gradient @ gram)).layers[0]
    assert refocused.alignment > plain.alignment
    expected = float(((gradient @ gram @ gram) * (gradient @ gram)).sum() / (gradient @ gram).square().sum())
    assert refocused.alignment == pytest.approx(expected / float(gram.trace() / 9))


def test_scale_of_the_base_and_the_length_of_the_movement_do_not_count():
    base, direction = drawn(), drawn(1, seed=3)[0]
    one, other = moved_along(base, direction), moved_along(10 * base, 0.1 * direction)
    assert other.alignment == pytest.approx(one.alignment)
    assert other.leading == pytest.approx(one.leading)


def test_blocks_of_zeros_count_as_isotropic():
    grams = torch.stack([torch.zeros(3, 3), torch.diag(torch.tensor([3.0, 0.0, 0.0]))]).double()
    moved = torch.tensor([[[1.0, 2.0, 0.0]], [[1.0, 0.0, 0.0]]], dtype=torch.float64)
    assert alignment(moved, grams)[0] == pytest.approx((5 * 1 + 1 * 3) / 6)


def test_what_did_not_move_has_no_direction():
    model = EveryKind()
    found = movement(model, copy.deepcopy(model))
    assert (found.still, found.relative, found.alignment) == (4, 0, None)
    assert [row.leading for row in found.layers] == [None] * 4
    assert "4 layers did not move" in str(found)
    zero = depthwise(torch.zeros(2, 9))
    assert movement(zero, depthwise(drawn(2))).relative is None


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    state = state_of(*trained_pair)
    found = movement(*trained_pair)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert found.still == 0
    for row in found.layers:
        before, after = (model.get_submodule(row.layer).weight.detach().double() for model in trained_pair)
        assert row.relative == pytest.approx(float((after - before).norm() / before.norm()))
    assert Movement.from_json(found.to_json()) == found


def test_different_architectures_are_refused(trained_pair):
    with pytest.raises(ModelError, match="differ in their convolutions"):
        movement(trained_pair[0], nn.Conv2d(1, 1, 3))
