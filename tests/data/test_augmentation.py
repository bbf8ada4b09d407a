"""Tests of refconv.data.augmentation."""

import pytest

from refconv.data import Augmentation
from refconv.errors import SettingError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hflip": 1.5}, "hflip: invalid augmentation; expected a probability from 0 to 1, found 1.5"),
        ({"re_prob": -1}, "re_prob: .*found -1"),
        ({"pad_crop": -2}, "pad_crop: .*0 or more, found -2"),
        ({"scale": (0.5, 0.2)}, "scale: .*low <= high"),
        ({"scale": (0.0, 1.0)}, "scale: .*0 < low"),
        ({"scale": (0.5, 1.0), "ratio": (0, 1)}, "ratio: .*0 < low"),
        ({"ratio": (0.5, 2.0)}, "ratio: .*a scale with it"),
        ({"auto_augment": "rand-m9", "color_jitter": 0.4}, "color_jitter: .*0 beside auto_augment"),
        ({"scale": (0.5, 1.0), "pad_crop": 2}, "pad_crop: .*one kind of random crop"),
        ({"color_jitter": -0.1}, "color_jitter: "),
        ({"interpolation": "linear"}, "interpolation: .*bilinear, bicubic, nearest, random, found linear"),
    ],
    ids=str,
)
def test_augmentation_refuses_impossible_values(settings, words):
    with pytest.raises(SettingError, match=words):
        Augmentation(**settings)


def test_augmentation_does_nothing_by_default():
    settings = Augmentation()
    assert (settings.hflip, settings.pad_crop, settings.scale, settings.re_prob) == (0, 0, None, 0)
    assert settings.auto_augment is None
    assert settings.color_jitter == 0


def test_crop_ratio_is_three_to_four_unless_given():
    assert Augmentation(scale=(0.5, 1.0)).crop_ratio == (3 / 4, 4 / 3)
    assert Augmentation(scale=(0.5, 1.0), ratio=(1.0, 1.0)).crop_ratio == (1.0, 1.0)


def test_colour_jitter_counts_beside_three_augment():
    assert Augmentation(auto_augment="3a", color_jitter=0.3).color_jitter == 0.3
