"""Tests of refconv.data.splits."""

import pytest
import torch

from refconv.data.splits import held_out, stratified_split, validation_split
from refconv.errors import DataError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 21)[torch.randperm(101, generator=torch.Generator().manual_seed(0))]
NAMES = ("ant", "bee", "cat")


def test_stratified_split_covers_everything_once_in_order():
    first, second = stratified_split(LABELS, 0.3, purpose="x")
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(101))
    assert torch.equal(first, first.sort().values)
    assert torch.equal(second, second.sort().values)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_stratified_split_keeps_the_proportions(fraction):
    _, second = stratified_split(LABELS, fraction, purpose="x")
    assert len(second) == round(fraction * 101)
    counts = torch.bincount(LABELS[second], minlength=3)
    assert ((counts - torch.bincount(LABELS) * fraction).abs() < 1).all()


def test_stratified_split_is_fixed_but_differs_between_purposes():
    _, once = stratified_split(LABELS, 0.3, purpose="x")
    with torch.random.fork_rng():
        torch.manual_seed(99)
        _, again = stratified_split(LABELS, 0.3, purpose="x")
    _, other = stratified_split(LABELS, 0.3, purpose="y")
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_stratified_split_copes_with_a_class_without_samples():
    first, second = stratified_split(torch.tensor([0, 0, 2, 2]), 0.5, purpose="x")
    assert torch.bincount(torch.tensor([0, 0, 2, 2])[second], minlength=3).tolist() == [1, 0, 1]
    assert len(first) == 2


def test_validation_split_of_nothing_trains_on_everything():
    train, val = validation_split(LABELS, 0.0, name="x", class_names=NAMES)
    assert len(train) == 101
    assert len(val) == 0


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (1.0, r"val_split of x: invalid fraction.*0 <= val_split < 1, found 1.0"),
        (-0.1, r"invalid fraction.*found -0.1"),
        (0.001, r"leaves nothing to validate on.*0.001 of 101 samples.*larger val_split"),
        (0.99, r"leaves nothing to train on in class '(bee|cat)'.*smaller val_split"),
    ],
)
def test_validation_split_refuses_a_share_that_leaves_nothing(fraction, words):
    with pytest.raises(DataError, match=words):
        validation_split(LABELS, fraction, name="x", class_names=NAMES)


@pytest.mark.parametrize("name", ["val", "validation", "valid", "test"])
def test_held_out_tests_on_the_only_part(name):
    assert held_out(["train", name], where="x", val_split=0.1) == (None, name)


def test_held_out_refuses_two_validation_splits():
    with pytest.raises(DataError, match=r"two validation splits.*val_split=0.1.*set val_split=0"):
        held_out(["train", "val", "test"], where="x", val_split=0.1)


def test_held_out_refuses_data_without_test_samples():
    with pytest.raises(DataError, match=r"nothing to test on.*val, validation or test.*found train"):
        held_out(["train"], where="x", val_split=0.1)
