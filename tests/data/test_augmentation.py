"""Tests of refconv.data.augmentation."""

import math

import pytest
import torch
from torch.nn import functional as F

from refconv.data import Augmentation
from refconv.data.augmentation import ERASED_AREA, ERASED_RATIO, erase, flip, pad_crop, resized_crop
from refconv.errors import SettingError
from refconv.process.randomness import uniforms


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


SHAPES = [(64, 1, 8, 8), (64, 3, 7, 12), (64, 2, 40)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def drawn(shape, draws):
    samples = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1
    return samples, uniforms(0, 0, torch.arange(shape[0]), draws)


def box_by_hand(size, u, scale, ratio):
    """Height and width of one random box, in Python's floating point."""
    height, width = size
    area = (scale[0] + u[0] * (scale[1] - scale[0])) * height * width
    aspect = math.exp(math.log(ratio[0]) + u[1] * (math.log(ratio[1]) - math.log(ratio[0])))
    return min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))


def line_by_hand(values, start, length):
    """Stretch [start, start + length) of a line to its whole length: pixel centres, linear, border repeated."""
    size = len(values)
    stretched = []
    for i in range(size):
        place = min(max(start + (i + 0.5) * length / size - 0.5, 0.0), size - 1.0)
        low = min(int(place), size - 2)
        stretched.append(values[low] * (1 - (place - low)) + values[low + 1] * (place - low))
    return torch.stack(stretched)


@shapes
def test_flip_equals_flipping_the_chosen_samples(shape):
    samples, u = drawn(shape, 1)
    expected = [sample.flip(-1) if v < 0.4 else sample for sample, v in zip(samples, u[:, 0].tolist(), strict=True)]
    assert torch.equal(flip(samples, u[:, 0], 0.4), torch.stack(expected))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_flip_never_and_always(probability):
    samples, u = drawn(SHAPES[0], 1)
    assert torch.equal(flip(samples, u[:, 0], probability), samples.flip(-1) if probability else samples)


@shapes
@pytest.mark.parametrize("padding", [1, 3])
def test_pad_crop_equals_padding_and_slicing_each_sample(shape, padding):
    samples, u = drawn(shape, 2)
    expected = []
    for sample, row in zip(samples, u.tolist(), strict=True):
        padded = F.pad(sample, [padding] * 2 * (sample.ndim - 1))
        for dim, size in enumerate(sample.shape[1:]):
            padded = padded.narrow(1 + dim, int(row[dim] * (2 * padding + 1)), size)
        expected.append(padded)
    assert torch.equal(pad_crop(samples, u, padding), torch.stack(expected))


def test_pad_crop_reaches_every_offset():
    line = torch.arange(1.0, 9.0).expand(500, 1, 8)
    found = pad_crop(line, uniforms(0, 0, torch.arange(500), 2), 2)
    assert set(found[:, 0, 4].tolist()) == {3.0, 4.0, 5.0, 6.0, 7.0}


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_resized_crop_equals_a_loop_over_pixels(shape):
    scale, ratio = (0.2, 1.0), (3 / 4, 4 / 3)
    samples, u = drawn(shape, 4)
    found = resized_crop(samples, u, scale, ratio, "bilinear")
    for sample, row, crop in zip(samples[:8], u[:8].tolist(), found[:8], strict=True):
        height, width = box_by_hand(sample.shape[1:], row, scale, ratio)
        top, left = row[2] * (sample.shape[1] - height), row[3] * (sample.shape[2] - width)
        rows = line_by_hand(sample.transpose(0, 1), top, height).transpose(0, 1)
        expected = line_by_hand(rows.permute(2, 0, 1), left, width).permute(1, 2, 0)
        # Coordinates up to 12 carry a few roundings of 2^-21; neighbouring pixels differ by at most 1.
        torch.testing.assert_close(crop, expected, rtol=0, atol=1e-5)


def test_resized_crop_of_signals_equals_a_loop_over_pixels():
    scale = (0.3, 0.9)
    samples, u = drawn(SHAPES[2], 4)
    found = resized_crop(samples, u, scale, (1.0, 1.0), "bilinear")
    for sample, row, crop in zip(samples[:8], u[:8].tolist(), found[:8], strict=True):
        length = (scale[0] + row[0] * (scale[1] - scale[0])) * 40
        expected = line_by_hand(sample.T, row[3] * (40 - length), length).T
        torch.testing.assert_close(crop, expected, rtol=0, atol=1e-5)


@shapes
def test_resized_crop_of_everything_changes_nothing(shape):
    samples, u = drawn(shape, 4)
    ratio = shape[-1] / shape[-2] if len(shape) == 4 else 1.0
    if ratio == 1.0:
        found = resized_crop(samples, u, (1.0, 1.0), (1.0, 1.0), "bilinear")
        torch.testing.assert_close(found, samples, rtol=0, atol=1e-5)
    else:  # a box cut to the image's height is not the whole image
        assert not torch.allclose(resized_crop(samples, u, (1.0, 1.0), (1.0, 1.0), "bilinear"), samples)


@shapes
def test_erase_equals_erasing_a_box_of_each_sample(shape):
    samples, u = drawn(shape, 5)
    expected = samples.clone()
    images = expected if len(shape) == 4 else expected[:, :, None]
    size = images.shape[2:]
    for image, row in zip(images, u.tolist(), strict=True):
        if row[0] >= 0.6:
            continue
        lengths = box_by_hand(size, row[1:], ERASED_AREA, ERASED_RATIO)
        if size[0] == 1:
            lengths = (1, (ERASED_AREA[0] + row[1] * (ERASED_AREA[1] - ERASED_AREA[0])) * size[1])
        height, width = (min(max(round(length), 1), full) for length, full in zip(lengths, size, strict=True))
        top, left = int(row[3] * (size[0] - height + 1)), int(row[4] * (size[1] - width + 1))
        image[:, top : top + height, left : left + width] = 0
    found = erase(samples, u, 0.6)
    assert torch.equal(found, expected)
    assert 0.4 < (found == 0).flatten(1).any(1).float().mean() < 0.8


@shapes
@pytest.mark.parametrize(
    "function",
    [
        lambda x, u: flip(x, u[:, 0], 0.5),
        lambda x, u: pad_crop(x, u[:, : x.ndim - 2], 2),
        lambda x, u: resized_crop(x, u[:, :4], (0.2, 1.0), (0.75, 1.25), "bilinear"),
        lambda x, u: resized_crop(x, u[:, :4], (0.2, 1.0), (0.75, 1.25), "bicubic"),
        lambda x, u: erase(x, u, 0.5),
    ],
    ids=["flip", "pad_crop", "bilinear", "bicubic", "erase"],
)
def test_augmentation_of_a_sample_does_not_depend_on_its_batch(shape, function):
    samples, u = drawn(shape, 5)
    one_by_one = torch.cat([function(samples[i : i + 1], u[i : i + 1]) for i in range(len(samples))])
    assert torch.equal(function(samples, u), one_by_one)
