"""Tests of refconv.data.disk: the same tensors whoever reads them."""

import random
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from refconv.data import Augmentation, open_data
from refconv.data.disk import eval_transform, train_transform
from refconv.data.preprocessing import Statement, resolve
from refconv.errors import DataError, SettingError
from refconv.process.randomness import seeded

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


def test_train_batches_of_two_processes_equal_those_of_one_process(shared_folder):
    data = make_data(shared_folder)
    ranks = [epoch(data, batch_size=4, rank=rank, world_size=2) for rank in (0, 1)]
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
    shutil.copytree(own_folder / "train", own_folder / "test")
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
    with pytest.raises(DataError, match="a sample of another kind; expected 2 channels, found 3; give --in-chans 3"):
        make_data(shared_folder, in_chans=2)


def info(size=16, channels=3, **values):
    known = {"img_size": size, "mean": (0.5,), "std": (0.25,), "crop_pct": 1.0, **values}
    return resolve([Statement("test", known)], in_chans=channels)


def picture(height=16, width=16, channels=3):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))


def normalised(image):
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5) / 0.25


def test_train_transform_without_augmentation_only_normalises():
    image = picture()
    torch.testing.assert_close(train_transform(info(), Augmentation())(image), normalised(image))


def test_train_transform_without_a_crop_keeps_the_middle():
    image = picture(16, 20)
    expected = normalised(image)[:, :, 2:18]
    torch.testing.assert_close(train_transform(info(), Augmentation())(image), expected)


def test_train_transform_flips_when_told_to():
    image = picture()
    found = train_transform(info(), Augmentation(hflip=1.0))(image)
    torch.testing.assert_close(found, normalised(image).flip(-1))


def test_train_transform_pads_and_crops():
    image = picture()
    transform = train_transform(info(), Augmentation(pad_crop=2))
    padded = torch.nn.functional.pad(normalised(image), [2] * 4, value=-2.0)
    windows = [padded[:, i : i + 16, j : j + 16] for i in range(5) for j in range(5)]
    hits = set()
    for seed in range(60):
        with seeded(seed):
            found = transform(image)
        hits.add(next(i for i, window in enumerate(windows) if torch.allclose(window, found)))
    assert len(hits) > 15


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (0.1, 1.0), "interpolation": "random"},
        {"auto_augment": "rand-m9-mstd0.5"},
        {"auto_augment": "augmix-m5-w4-d2"},
        {"color_jitter": 0.4},
        {"re_prob": 1.0},
        {"hflip": 0.5},
        {"pad_crop": 3},
    ],
    ids=str,
)
def test_every_setting_has_an_effect_that_the_seed_alone_decides(settings, channels):
    image = picture(channels=channels)
    transform = train_transform(info(channels=channels), Augmentation(**settings))

    def made(seed):
        with seeded(seed):
            return transform(image)

    first = [made(seed) for seed in range(8)]
    assert all(torch.equal(x, made(seed)) for seed, x in enumerate(first))
    assert any(not torch.equal(first[0], x) for x in first[1:])
    assert all(x.shape == (channels, 16, 16) for x in first)


@pytest.mark.parametrize("policy", ["rando-m9", "rand-m9-x3", "rand-mstd0.5.5", "nosuch"])
def test_train_transform_refuses_an_unknown_policy(policy):
    with pytest.raises(SettingError, match=rf"auto_augment: unknown policy.*found '{policy}'"):
        train_transform(info(), Augmentation(auto_augment=policy))


def test_eval_transform_of_the_native_size_only_normalises():
    image = picture()
    torch.testing.assert_close(eval_transform(info())(image), normalised(image))


def test_train_transform_without_a_random_crop_sees_what_evaluation_sees():
    image, known = picture(40, 60), info(crop_pct=0.8, interpolation="bicubic")
    assert torch.equal(train_transform(known, Augmentation())(image), eval_transform(known)(image))
    assert not torch.equal(train_transform(info(), Augmentation())(image), eval_transform(known)(image))


def test_a_picture_in_bgr_has_its_channels_reversed():
    image = picture()
    expected = eval_transform(info())(image).flip(0)
    assert torch.equal(eval_transform(info(color_mode="BGR"))(image), expected)
    assert torch.equal(train_transform(info(color_mode="BGR"), Augmentation())(image), expected)


def test_eval_transform_keeps_the_part_that_the_settings_say():
    image = picture(32, 32)
    found = eval_transform(info(crop_pct=0.5))(image)
    torch.testing.assert_close(found, normalised(image)[:, 8:24, 8:24])


@pytest.mark.parametrize("scale", [(0.3, 1.0), None])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_training_images_may_have_a_resampling_of_their_own(scale, interpolation):
    own = Augmentation(scale=scale, hflip=0.5, vflip=0.5, interpolation=interpolation)
    as_evaluated = Augmentation(scale=scale, hflip=0.5, vflip=0.5)
    for seed in range(4):
        with seeded(seed):
            found = train_transform(info(interpolation="bicubic"), own)(picture(40, 40))
        with seeded(seed):
            expected = train_transform(info(interpolation=interpolation), as_evaluated)(picture(40, 40))
        assert torch.equal(found, expected)


def test_a_random_resampling_without_a_crop_is_one_of_timms_two():
    found = set()
    fixed = {
        train_transform(info(interpolation=mode), Augmentation())(picture(40, 40)).numpy().tobytes()
        for mode in ("bilinear", "bicubic")
    }
    for seed in range(12):
        with seeded(seed):
            made = train_transform(info(), Augmentation(interpolation="random"))(picture(40, 40))
        found.add(made.numpy().tobytes())
    assert found == fixed


def test_the_training_transform_is_timms():
    settings = {"scale": (0.3, 1.0), "ratio": (0.75, 4 / 3), "hflip": 0.5, "vflip": 0.5, "interpolation": "random"}
    timms = create_transform(
        (3, 16, 16), is_training=True, color_jitter=None, mean=(0.5,) * 3, std=(0.25,) * 3, **settings
    )
    ours = train_transform(info(), Augmentation(**settings))
    for seed in range(8):
        with seeded(seed):
            expected = timms(picture(40, 40))
        with seeded(seed):
            assert torch.equal(ours(picture(40, 40)), expected)
