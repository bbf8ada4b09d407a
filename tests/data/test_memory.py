"""Tests of refconv.data.memory: batches are exact functions of seed, epoch and position."""

import dataclasses
import random

import pytest
import torch
from torch.nn import functional as F

from refconv.data import Augmentation
from refconv.data.memory import MemoryData, Source
from refconv.data.preprocessing import Statement
from refconv.errors import DataError

CROPPED = Augmentation(hflip=0.5, pad_crop=2, re_prob=0.5)
RESIZED = Augmentation(hflip=0.5, scale=(0.3, 1.0), re_prob=0.5)
augmentations = pytest.mark.parametrize("augmentation", [CROPPED, RESIZED], ids=["cropped", "resized"])


def make_source(*size, channels=1):
    drawn = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (60, channels, *(size or (8, 8))), generator=drawn, dtype=torch.uint8)
    test = torch.randint(0, 256, (21, channels, *(size or (8, 8))), generator=drawn, dtype=torch.uint8)
    return Source(
        train=train,
        train_labels=torch.arange(60) % 3,
        test=test,
        test_labels=torch.arange(21) % 3,
        class_names=("ant", "bee", "cat"),
        unit=1 / 255,
        mean=(0.5,),
        std=(0.25,),
    )


def make_data(augmentation=None, *, size=(), channels=1, **settings):
    return MemoryData("toy", make_source(*size, channels=channels), augmentation=augmentation, **settings)


def epoch(data, **settings):
    return list(data.train_batches(**({"seed": 3, "epoch": 1, "batch_size": 8} | settings)))


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for (x, y), (x_other, y_other) in zip(one, other, strict=True):
        assert torch.equal(x, x_other)
        assert torch.equal(y, y_other)


def by_sample(batches):
    """Samples keyed by their bytes, as the sets here hold no sample twice."""
    return sorted((x.numpy().tobytes(), int(y)) for xs, ys in batches for x, y in zip(xs, ys, strict=True))


@augmentations
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (20,)], ids=str)
def test_train_batches_repeat_whatever_was_drawn_before(augmentation, size):
    first = epoch(make_data(augmentation, size=size))
    random.random()
    torch.rand(3)
    assert_same(first, epoch(make_data(augmentation, size=size)))


def test_train_batches_leave_the_global_generators_alone():
    before = torch.get_rng_state(), random.getstate()
    epoch(make_data(CROPPED))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@augmentations
@pytest.mark.parametrize("first_batch", [1, 4, 7])
def test_train_batches_from_an_offset_equal_the_tail(augmentation, first_batch):
    data = make_data(augmentation)
    whole = epoch(data)
    tail = epoch(data, first_batch=first_batch)
    assert len(tail) == 7 - first_batch
    if tail:
        assert_same(tail, whole[first_batch:])


@augmentations
def test_train_batches_of_two_processes_equal_those_of_one_process(augmentation):
    data = make_data(augmentation)
    ranks = [epoch(data, batch_size=8, rank=rank, world_size=2) for rank in (0, 1)]
    together = [
        (torch.cat([x, x_other]), torch.cat([y, y_other])) for (x, y), (x_other, y_other) in zip(*ranks, strict=True)
    ]
    assert_same(together, epoch(data))


def test_train_batches_of_two_processes_see_every_sample_once():
    data = make_data()
    ranks = [epoch(data, batch_size=10, rank=rank, world_size=2) for rank in (0, 1)]
    assert by_sample(ranks[0] + ranks[1]) == by_sample(data.eval_batches("train", batch_size=60))


def test_train_batches_change_with_seed_and_epoch():
    data = make_data(CROPPED)
    first = [x for x, _ in epoch(data)]
    for change in ({"seed": 4}, {"epoch": 2}):
        assert not any(torch.equal(x, y) for x, (y, _) in zip(first, epoch(data, **change), strict=True))


def test_train_batches_count_as_announced():
    data = make_data()
    assert len(epoch(data)) == data.batches_per_epoch(batch_size=8) == 7
    assert len(epoch(data, world_size=2)) == 7
    assert len(epoch(data, batch_size=100)) == data.batches_per_epoch(batch_size=100) == 1


def test_train_batches_without_augmentation_are_the_normalised_samples():
    source, data = make_source(), make_data()
    assert by_sample(epoch(data, batch_size=60)) == by_sample(
        [((source.train.float() * (1 / 255) - 0.5) / 0.25, source.train_labels)]
    )


def test_augmentations_are_drawn_independently_of_one_another():
    # Erasing happens after normalisation and changes nothing outside its box, so the flips must agree.
    flipped = torch.cat([x for x, _ in epoch(make_data(Augmentation(hflip=0.5)))])
    both = torch.cat([x for x, _ in epoch(make_data(Augmentation(hflip=0.5, re_prob=1.0)))])
    assert torch.equal(both[both != 0], flipped[both != 0])
    assert 0.02 < (both == 0).float().mean() < 0.5


def test_padding_is_black_before_normalisation():
    x, _ = epoch(make_data(Augmentation(pad_crop=8)), batch_size=60)[0]
    assert ((x == -2.0).float().mean()) > 0.3


@pytest.mark.parametrize("split", ["val", "test", "train"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_eval_batches_see_every_sample_once_without_augmentation(split, world_size):
    data = make_data(CROPPED, val_split=0.2)
    size = {"val": data.info.val_size, "test": data.info.test_size, "train": data.info.train_size}[split]
    batches = [
        batch
        for rank in range(world_size)
        for batch in data.eval_batches(split, batch_size=5, rank=rank, world_size=world_size)
    ]
    assert sum(len(y) for _, y in batches) == size
    assert max(len(y) for _, y in batches) == 5
    plain = make_data(val_split=0.2)
    assert by_sample(batches) == by_sample(plain.eval_batches(split, batch_size=size))


def test_validation_split_is_disjoint_from_the_rest_and_stratified():
    data = make_data(val_split=0.2)
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (48, 12, 21)
    train = by_sample(data.eval_batches("train", batch_size=60))
    val = by_sample(data.eval_batches("val", batch_size=60))
    assert not {*train} & {*val}
    assert sorted(train + val) == by_sample(make_data().eval_batches("train", batch_size=60))
    assert [sum(label == c for _, label in val) for c in range(3)] == [4, 4, 4]


def test_training_never_sees_the_validation_split():
    data = make_data(val_split=0.2)
    val = by_sample(data.eval_batches("val", batch_size=60))
    for seed in range(3):
        assert not {*by_sample(epoch(data, seed=seed, batch_size=48))} & {*val}


def test_validation_without_a_split_is_an_error_that_says_how():
    with pytest.raises(DataError, match=r"split 'val' of toy: no samples to evaluate on; set val_split"):
        make_data().eval_batches("val", batch_size=4)


def test_a_single_channel_is_repeated():
    x, _ = next(
        make_data(in_chans=3, stated=[Statement("flags", {"mean": (0.1, 0.2, 0.3)})]).eval_batches("test", batch_size=4)
    )
    assert x.shape == (4, 3, 8, 8)
    torch.testing.assert_close(x[:, 0] * 0.25 + 0.1, x[:, 2] * 0.25 + 0.3)


def test_own_channels_are_kept():
    assert make_data(channels=3).info.in_chans == 3


@pytest.mark.parametrize(("channels", "wanted"), [(3, 1), (1, 0)])
def test_impossible_channels_are_refused(channels, wanted):
    with pytest.raises(
        DataError, match=rf"toy: cannot provide this number of channels; expected {channels}, found {wanted}"
    ):
        make_data(channels=channels, in_chans=wanted)


def test_statistics_of_another_number_of_channels_are_refused():
    with pytest.raises(DataError, match="std of toy: wrong number of values; expected 1 or 1.*found 3"):
        make_data(stated=[Statement("flags", {"std": (1.0, 1.0, 1.0)})])


@pytest.mark.parametrize("size", [(8, 8), (20,)], ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resizing_happens_once_and_keeps_the_type(size, mode):
    data = make_data(size=size, stated=[Statement("flags", {"img_size": 16, "interpolation": mode})])
    assert data.info.input_size == (1, *[16] * len(size))
    x, _ = next(data.eval_batches("test", batch_size=21))
    assert x.shape == (21, 1, *[16] * len(size))
    raw = make_source(*size).test.float()
    kind = {"nearest": "nearest-exact"}.get(mode, mode) if len(size) == 2 else "linear"
    expected = F.interpolate(raw, size=[16] * len(size), mode=kind)
    # Stored as bytes again: half a grey level of rounding, in units of the standard deviation.
    torch.testing.assert_close(x, (expected / 255 - 0.5) / 0.25, rtol=0, atol=0.51 / 255 / 0.25)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"auto_augment": "rand-m9"}, "auto_augment"),
        ({"color_jitter": 0.4}, "color_jitter"),
        ({"interpolation": "random"}, "interpolation=random"),
    ],
)
def test_augmentation_for_disks_only_is_refused(settings, word):
    with pytest.raises(DataError, match=rf"toy: augmentation not available for tensors.*found {word}.*folder:PATH"):
        make_data(Augmentation(**settings))


@pytest.mark.parametrize("by", ["flags", "recipe"])
def test_a_crop_of_samples_in_memory_is_refused(by):
    with pytest.raises(DataError, match=r"toy: augmentation not available for tensors.*found crop_pct.*folder:PATH"):
        make_data(stated=[Statement(by, {"crop_pct": 0.9})])


def test_what_a_library_says_of_its_weights_is_not_for_samples_in_memory():
    said = {"input_size": (3, 20, 20), "mean": (0.1,) * 3, "std": (0.2,) * 3, "crop_pct": 0.9}
    assert make_data(stated=[Statement("timm's x", said)]).info == make_data().info
    of_run = make_data(stated=[Statement("config.json", said, of_run=True)]).info
    assert (of_run.input_size[1:], set(of_run.mean)) == ((20, 20), {0.1})


def test_info_survives_json():
    info = make_data(val_split=0.2).info
    assert type(info).from_json(info.to_json()) == info
    assert dataclasses.replace(info, name="other") != info


def test_a_vertical_flip_reverses_the_rows_and_changes_no_other_draw():
    turned, plain = (epoch(make_data(dataclasses.replace(CROPPED, vflip=p, re_prob=0.0))) for p in (1.0, 0.0))
    assert_same([(x.flip(-2), y) for x, y in turned], plain)
    some = torch.cat([x for x, _ in epoch(make_data(Augmentation(vflip=0.5)))])
    none = torch.cat([x for x, _ in epoch(make_data())])
    same = (some == none).flatten(1).all(1)
    assert 10 < int(same.sum()) < len(same) - 10
    assert torch.equal(some[~same].flip(-2), none[~same])


def test_signals_have_no_rows_to_flip():
    with pytest.raises(DataError, match="signals have no rows to flip"):
        make_data(Augmentation(vflip=0.5), size=(20,))


def test_random_crops_may_have_a_resampling_of_their_own():
    nearest = epoch(make_data(dataclasses.replace(RESIZED, interpolation="nearest")))
    values = {float(value) for x, _ in epoch(make_data()) for value in x.unique()}
    assert {float(value) for x, _ in nearest for value in x.unique()} - {0.0} <= values
    with pytest.raises(DataError, match="train_interpolation without scale"):
        make_data(Augmentation(interpolation="nearest"))
