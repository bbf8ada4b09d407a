"""Tests of refconv.data.disk: the same tensors whoever reads them."""

import random

import numpy as np
import pytest
import torch

from refconv.data import Augmentation, open_data
from refconv.errors import DataError

AUGMENTATION = Augmentation(
    scale=(0.3, 1.0), hflip=0.5, auto_augment="rand-m9-mstd0.5", re_prob=0.5, interpolation="random"
)


def make_data(folder, augmentation=AUGMENTATION, **settings):
    return open_data(f"folder:{folder}", **({"img_size": 16, "augmentation": augmentation} | settings))


def epoch(data, **settings):
    return list(data.train_batches(**({"seed": 3, "epoch": 1, "batch_size": 4} | settings)))


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for (x, y), (x_other, y_other) in zip(one, other, strict=True):
        assert torch.equal(x, x_other)
        assert torch.equal(y, y_other)


def by_sample(batches):
    return sorted((x.numpy().tobytes(), int(y)) for xs, ys in batches for x, y in zip(xs, ys, strict=True))


def test_batches_are_the_same_with_and_without_workers(shared_folder):
    alone, helped = make_data(shared_folder), make_data(shared_folder, workers=2)
    for number in range(2):
        assert_same(epoch(alone, epoch=number), epoch(helped, epoch=number))
    assert_same(epoch(alone, first_batch=5), epoch(helped)[5:])
    assert_same(list(alone.eval_batches("test", batch_size=4)), list(helped.eval_batches("test", batch_size=4)))


def test_train_batches_repeat_and_leave_the_generators_alone(shared_folder):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    first = epoch(make_data(shared_folder))
    assert states() == before
    random.random()
    torch.rand(1)
    assert_same(first, epoch(make_data(shared_folder)))


def test_train_batches_from_an_offset_equal_the_tail(shared_folder):
    data = make_data(shared_folder)
    assert_same(epoch(data, first_batch=3), epoch(data)[3:])


def test_train_batches_of_two_processes_equal_one_process_with_twice_the_batch(shared_folder):
    data = make_data(shared_folder)
    ranks = [epoch(data, batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    together = [
        (torch.cat([x, x_other]), torch.cat([y, y_other])) for (x, y), (x_other, y_other) in zip(*ranks, strict=True)
    ]
    assert_same(together, epoch(data))


def test_train_batches_change_with_seed_and_epoch(shared_folder):
    data = make_data(shared_folder)
    first = by_sample(epoch(data, batch_size=30))
    for change in ({"seed": 4}, {"epoch": 2}):
        assert not {*first} & {*by_sample(epoch(data, batch_size=30, **change))}


def test_eval_batches_of_two_processes_see_every_sample_once(shared_folder):
    data = make_data(shared_folder)
    ranks = [list(data.eval_batches("test", batch_size=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert by_sample(ranks[0] + ranks[1]) == by_sample(data.eval_batches("test", batch_size=9))
    assert data.info.test_size == 9


def test_validation_split_is_disjoint_and_not_augmented(shared_folder):
    data = make_data(shared_folder, val_split=0.2)
    assert (data.info.train_size, data.info.val_size) == (24, 6)
    val, train = (by_sample(data.eval_batches(split, batch_size=30)) for split in ("val", "train"))
    assert not {*val} & {*train}
    assert sorted(val + train) == by_sample(make_data(shared_folder).eval_batches("train", batch_size=30))
    assert [sum(label == c for _, label in val) for c in range(3)] == [2, 2, 2]


def test_a_validation_folder_of_its_own_is_used(own_folder):
    (own_folder / "val").rename(own_folder / "test")
    (own_folder / "train").rename(own_folder / "val")
    (own_folder / "test").rename(own_folder / "train")
    (own_folder / "test").symlink_to(own_folder / "train")
    data = make_data(own_folder)
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (9, 30, 9)
    assert sum(len(y) for _, y in data.eval_batches("val", batch_size=8)) == 30


def test_no_more_workers_are_started_than_there_are_batches(shared_folder):
    data = make_data(shared_folder, workers=2)
    assert epoch(data, first_batch=7) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_when_it_is_read(own_folder, workers):
    path = own_folder / "train" / "bee" / "04.png"
    path.write_bytes(path.read_bytes()[:100])
    data = make_data(own_folder, workers=workers)
    assert len(list(data.eval_batches("test", batch_size=4))) == 3
    with pytest.raises(DataError, match=r"bee/04\.png: unreadable image; .*repair or remove the file") as caught:
        epoch(data, batch_size=30)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 24)])
def test_images_come_with_the_channels_and_the_size_asked_for(shared_folder, channels, size):
    data = make_data(shared_folder, in_chans=channels, img_size=size)
    x, _ = next(data.eval_batches("test", batch_size=4))
    assert x.shape == (4, *data.info.input_size) == (4, channels, size, size)


def test_other_channels_are_refused(shared_folder):
    with pytest.raises(DataError, match=r"images have 1 or 3 channels; found in_chans=2"):
        make_data(shared_folder, in_chans=2)
