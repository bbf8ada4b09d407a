"""Tests of refconv.process.randomness."""

import random

import numpy as np
import pytest
import torch

from refconv.process.randomness import derive_seed, hashes, seed_everything, seeded, uniforms

MASK = 2**64 - 1


def splitmix(state):
    """The published finaliser on Python's integers: the independent route."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_derive_seed_is_63_bits():
    assert 0 <= derive_seed("order", 3, 14) < 2**63


def test_derive_seed_is_the_same_in_every_process_and_has_not_changed_since_files_were_written():
    assert derive_seed("step", 0, 1) == 6587530632270926177


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 2), (2, 1)), (("ab", "c"), ("a", "bc")), ((1,), ("1",)), ((12,), (1, 2)), ((), (0,))],
    ids=str,
)
def test_derive_seed_keeps_different_parts_apart(one, other):
    assert derive_seed(*one) != derive_seed(*other)


def test_derive_seed_takes_any_integer_type():
    assert derive_seed(np.int64(5)) == derive_seed(5)


def test_hashes_equal_splitmix_on_python_integers():
    indices = torch.tensor([0, 1, 77, 2**40])
    base = derive_seed("hashes", 5, 2)
    expected = [splitmix(((i + 1) * 0x9E3779B97F4A7C15 + base) & MASK) for i in indices.tolist()]
    assert [value & MASK for value in hashes(5, 2, indices).tolist()] == expected


def test_uniforms_equal_splitmix_on_python_integers():
    indices = torch.tensor([4, 9])
    keys = [value & MASK for value in hashes(1, 0, indices).tolist()]
    expected = [
        [(splitmix((key + (draw + 1) * 0x9E3779B97F4A7C15) & MASK) >> 40) / 2**24 for draw in range(3)] for key in keys
    ]
    assert uniforms(1, 0, indices, 3).tolist() == expected


def test_uniforms_do_not_depend_on_the_batch_or_on_the_number_of_draws():
    everything = uniforms(1, 2, torch.arange(1000), 5)
    some = torch.tensor([999, 3, 512])
    assert torch.equal(uniforms(1, 2, some, 2), everything[some, :2])


def test_uniforms_differ_between_seeds_epochs_and_indices():
    indices = torch.arange(64)
    one = uniforms(1, 1, indices, 4)
    assert one.unique().numel() == one.numel()
    assert not torch.isin(uniforms(2, 1, indices, 4), one).any()
    assert not torch.isin(uniforms(1, 2, indices, 4), one).any()


def test_uniforms_are_uniform_and_uncorrelated():
    n = 100_000
    drawn = uniforms(0, 0, torch.arange(n), 4).double()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # 100 equal cells: chi-square with 99 degrees of freedom has mean 99 and standard deviation 14.
    for column in drawn.T:
        counts = torch.bincount((column * 100).long(), minlength=100).double()
        assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 99 + 5 * 14
    off_diagonal = torch.corrcoef(drawn.T) - torch.eye(4)
    assert off_diagonal.abs().max() < 5 / n**0.5


def test_uniforms_are_float32_of_the_asked_shape():
    drawn = uniforms(0, 0, torch.arange(7), 3)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (7, 3)


def test_seed_everything_repeats_all_three_generators():
    with seeded(0):  # puts the generators of the test process back
        seed_everything(7)
        first = draw()
        seed_everything(7)
        assert draw() == first
        seed_everything(derive_seed(7))
        assert draw() != first


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeded_leaves_the_generators_as_they_were():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    with seeded(1):
        drawn = draw()
    assert states() == before
    with seeded(1):
        assert draw() == drawn


def test_seeded_leaves_the_generators_as_they_were_after_an_error():
    def failing():
        with seeded(1):
            raise ZeroDivisionError

    before = random.getstate()
    with pytest.raises(ZeroDivisionError):
        failing()
    assert random.getstate() == before
