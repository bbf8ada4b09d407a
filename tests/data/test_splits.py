"""Tests of refconv.data.splits."""

import pytest
import torch
from hypothesis import given, strategies as st

from refconv.data.splits import (
    balanced_index_batches,
    batch_count,
    epoch_order,
    eval_index_batches,
    held_out,
    share_of,
    stratified_split,
    taken_by,
    train_index_batches,
    validation_split,
)
from refconv.errors import DataError, SettingError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 21)[torch.randperm(101, generator=torch.Generator().manual_seed(0))]
NAMES = ("ant", "bee", "cat")


def balanced(labels=LABELS, per_class=4, **settings):
    indices = torch.arange(1000, 1000 + len(labels))
    order = {"seed": 3, "epoch": 1, "batch_size": 8, **settings}
    return balanced_index_batches(indices, labels, per_class, **order)


def classes_of(batch, labels=LABELS):
    return labels[batch - 1000]


def test_balanced_batches_have_the_form_of_those_of_pytorch_metric_learning():
    samplers = pytest.importorskip("pytorch_metric_learning.samplers")
    theirs = samplers.MPerClassSampler(LABELS.tolist(), m=4, batch_size=8, length_before_new_iter=96)
    for batches in ((1000 + torch.tensor([int(index) for index in theirs])).split(8), balanced()):
        assert len(batches) == len(LABELS) // 8
        for batch in batches:
            found, counts = classes_of(batch).unique(return_counts=True)
            assert (len(found), counts.tolist()) == (2, [4, 4])
            assert len(batch.unique()) == 8


def test_balanced_batches_start_anywhere_and_follow_from_seed_and_epoch():
    whole = torch.stack(balanced())
    assert torch.equal(whole, torch.stack(balanced()))
    assert torch.equal(whole[5:], torch.stack(balanced(first_batch=5)))
    assert not torch.equal(whole, torch.stack(balanced(epoch=2)))
    assert not torch.equal(whole, torch.stack(balanced(seed=4)))
    drawn = torch.stack([classes_of(batch)[::4] for batch in whole])  # classes change from batch to batch
    assert len(drawn.unique(dim=0)) > 3


def test_processes_share_balanced_batches_class_by_class():
    whole = balanced(batch_size=8)
    halves = [balanced(world_size=2, rank=rank) for rank in (0, 1)]
    assert torch.equal(torch.stack(whole), torch.cat([torch.stack(half) for half in halves], dim=1))
    assert all(len(classes_of(batch).unique()) == 1 for half in halves for batch in half)


def test_no_sample_is_taken_again_before_the_others_of_its_class_were():
    labels = torch.tensor([0] * 9 + [1] * 3 + [2] * 30)
    taken = torch.cat(balanced(labels, batch_size=12))
    for label, count in enumerate((9, 3, 30)):
        members = taken[classes_of(taken, labels) == label]
        for start in range(0, len(members) - count + 1, count):
            assert len(members[start : start + count].unique()) == count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_class": 3}, "cut into classes; expected a divisor of 8, the samples of a batch in one part"),
        ({"per_class": 2}, "too few classes for a batch; expected 4 classes in the training data, found 3; give"),
        ({"batch_size": 16}, "too few classes for a batch; expected 4 classes"),
    ],
)
def test_balanced_batches_that_cannot_be_made_are_refused(settings, message):
    with pytest.raises(SettingError, match=f"samples_per_class: .*{message}"):
        balanced(**settings)


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


def batches(size, **settings):
    given_settings = {"seed": 0, "epoch": 0, "batch_size": 4} | settings
    return [batch.tolist() for batch in train_index_batches(torch.arange(size), **given_settings)]


def flat(lists):
    return [item for part in lists for item in part]


def test_epoch_order_is_a_permutation_of_the_given_indices():
    indices = torch.tensor([3, 100, 7, 2**33])
    order = epoch_order(indices, seed=0, epoch=0)
    assert sorted(order.tolist()) == sorted(indices.tolist())


def test_epoch_order_does_not_depend_on_how_the_indices_are_given():
    indices = torch.arange(100)
    assert torch.equal(epoch_order(indices, seed=1, epoch=2), epoch_order(indices.flip(0), seed=1, epoch=2))


def test_epoch_order_of_a_subset_is_the_order_of_the_whole_without_the_rest():
    whole = epoch_order(torch.arange(100), seed=1, epoch=2)
    kept = torch.arange(0, 100, 3)
    assert torch.equal(epoch_order(kept, seed=1, epoch=2), whole[torch.isin(whole, kept)])


def test_epoch_order_changes_with_seed_and_epoch():
    orders = {tuple(epoch_order(torch.arange(50), seed=s, epoch=e).tolist()) for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_epoch_order_puts_every_sample_everywhere_equally_often():
    # The place of sample 0 among 10 over 2,000 epochs: chi-square with 9 degrees of freedom, mean 9, deviation 4.2.
    places = torch.tensor([(epoch_order(torch.arange(10), seed=0, epoch=e) == 0).nonzero().item() for e in range(2000)])
    counts = torch.bincount(places, minlength=10).double()
    assert ((counts - 200) ** 2 / 200).sum() < 9 + 5 * 4.2


@given(
    size=st.integers(1, 60),
    batch_size=st.integers(1, 40),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 2**62),
    data=st.data(),
)
def test_train_index_batches_divide_one_order_over_processes(size, batch_size, world_size, seed, data):
    settings = {"seed": seed, "batch_size": batch_size, "world_size": world_size}
    ranks = [batches(size, rank=rank, **settings) for rank in range(world_size)]
    count = batch_count(size, batch_size=batch_size)
    assert {len(rank) for rank in ranks} == {count}
    # Step by step, the processes together see what one process sees, but for those that have to fill their place.
    alone = batches(size, seed=seed, batch_size=batch_size)
    few = min(size, batch_size)
    for step in range(count):
        assert flat(rank[step] for rank in ranks[:few]) == alone[step]
        assert all(rank[step] == alone[step][:1] for rank in ranks[few:])
    # No sample twice; only an incomplete last batch is left out.
    seen = flat(alone)
    assert len(seen) == len(set(seen)) == min(size, count * batch_size)
    assert size - len(seen) < batch_size
    first = data.draw(st.integers(0, count))
    assert batches(size, rank=0, first_batch=first, **settings) == ranks[0][first:]


def test_train_index_batches_keep_a_set_smaller_than_one_batch():
    assert [len(batch) for batch in batches(3, batch_size=8)] == [3]
    assert [len(batches(3, batch_size=8, rank=rank, world_size=2)[0]) for rank in (0, 1)] == [2, 1]


@given(half=st.integers(1, 20), world_size=st.integers(1, 5), woven=st.booleans())
def test_shares_are_even_disjoint_and_complete_and_pairs_stay_together(half, world_size, woven):
    size = 2 * half
    for pairs, unit in ((False, 1), (True, 2)):
        how = {"world_size": world_size, "pairs": pairs, "woven": woven}
        shares = [share_of(size, rank=rank, **how) for rank in range(world_size)]
        assert sorted(flat(share.tolist() for share in shares)) == list(range(size))
        lengths = [len(share) for share in shares]
        assert lengths == sorted(lengths, reverse=True)  # the first process, which writes, always has some
        assert max(lengths) - min(lengths) <= unit
        taken = [taken_by(size, rank=rank, **how) for rank in range(world_size)]
        assert all(len(own) for own in taken)
        if pairs:
            assert all(torch.equal(own.flip(0), size - 1 - own) for own in taken)
    assert share_of(size, rank=0, world_size=1, pairs=True).tolist() == list(range(size))


@given(size=st.integers(0, 50), batch_size=st.integers(1, 12), world_size=st.integers(1, 4))
def test_eval_index_batches_see_every_position_once_without_padding(size, batch_size, world_size):
    ranks = [
        eval_index_batches(size, batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert sorted(flat(batch.tolist() for rank in ranks for batch in rank)) == list(range(size))
    assert all(0 < len(batch) <= batch_size for rank in ranks for batch in rank)
