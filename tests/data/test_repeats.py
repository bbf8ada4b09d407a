"""Repeated augmentation: the order is timm's, and every task augments each repetition anew."""

import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from refconv.data import Augmentation, open_data
from refconv.data.splits import epoch_order, index_of, repeated, train_index_batches


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("times", [1, 2, 3, 2.5, 1.1])
def test_processes_take_the_samples_that_timms_sampler_gives_them(times, world_size):
    samples, batch = torch.arange(61), 5
    order = epoch_order(samples, seed=3, epoch=2)
    for rank in range(world_size):
        sampler = RepeatAugSampler(range(61), world_size, rank, shuffle=False, num_repeats=times, selected_round=0)
        expected = order[torch.tensor(list(sampler))]
        share = {"batch_size": batch, "rank": rank, "world_size": world_size}
        share["batch_size"] *= world_size
        found = torch.cat(train_index_batches(samples, seed=3, epoch=2, repeats=times, **share))
        whole = 61 // (batch * world_size) * batch  # timm fills the last batch up, which is left out here
        assert len(found) == whole
        assert torch.equal(index_of(found), expected[:whole])


def test_without_repetitions_the_order_is_the_usual_one():
    order = torch.randperm(20)
    assert torch.equal(repeated(order, 1), order)


def test_repetitions_have_numbers_of_their_own_and_the_first_is_the_index():
    found = repeated(torch.tensor([7, 4, 9]), 2)
    assert index_of(found).tolist() == [7, 7, 4]
    assert found[0] == 7
    assert found[2] == 4
    assert len(set(found.tolist())) == 3
    assert index_of(int(found[1])) == 7


@pytest.mark.parametrize("world_size", [2, 4])
def test_one_process_sees_in_a_step_what_several_see_together(world_size):
    data = open_data("digits", augmentation=Augmentation(pad_crop=2, hflip=0.5))
    share = {"seed": 1, "epoch": 4, "repeats": 3}
    for number, (samples, labels) in enumerate(data.train_batches(batch_size=16, **share)):
        own = {**share, "batch_size": 16, "world_size": world_size, "first_batch": number}
        parts = [next(data.train_batches(**own, rank=rank)) for rank in range(world_size)]
        woven = torch.stack([part for part, _ in parts], dim=1).flatten(0, 1)
        assert torch.equal(woven, samples)
        assert torch.equal(torch.stack([part for _, part in parts], dim=1).flatten(), labels)
        if number == 2:
            break


def test_an_epoch_can_start_at_any_batch_and_repetitions_differ():
    data = open_data("digits", augmentation=Augmentation(pad_crop=2))
    whole = list(data.train_batches(seed=0, epoch=1, batch_size=30, repeats=3))
    rest = list(data.train_batches(seed=0, epoch=1, batch_size=30, repeats=3, first_batch=7))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[7:], rest, strict=True))
    assert len(whole) == data.batches_per_epoch(batch_size=30)
    samples, labels = whole[0]
    assert torch.equal(labels[0::3], labels[1::3])
    assert torch.equal(labels[0::3], labels[2::3])
    assert not torch.equal(samples[0::3], samples[1::3])
