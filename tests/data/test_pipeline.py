"""Tests of refconv.data.pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data import Augmentation
from refconv.data.pipeline import eval_transform, train_transform
from refconv.data.preprocessing import Statement, resolve
from refconv.errors import SettingError
from refconv.process.randomness import seeded


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
    with pytest.raises(SettingError, match=rf"auto_augment: policy that timm does not know.*found '{policy}'"):
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
