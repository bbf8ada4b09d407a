"""Degradation: MATLAB's bicubic but for the border, noise of the size asked for, the same for the same seed."""

import math

import pytest
import torch

from refconv.data.resizing import enlarged, resized
from refconv.errors import SettingError
from refconv.tasks.restoration.data import Degradation, cropped_to_multiple, rounded


def cubic(x, a=-0.5):
    """Keys 1981, equation (4)."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def imresize_weights(size, wanted, a=-0.5):
    """The matrix of MATLAB's imresize in one dimension: the kernel widened when shrinking, the image mirrored."""
    scale = wanted / size
    width = 4 / min(scale, 1)
    matrix = torch.zeros(wanted, size, dtype=torch.float64)
    for row in range(wanted):
        center = (row + 0.5) / scale - 0.5
        taps = range(math.floor(center - width / 2), math.ceil(center + width / 2) + 1)
        weights = [cubic((center - tap) * min(scale, 1), a) for tap in taps]
        for tap, weight in zip(taps, weights, strict=True):
            mirrored = tap % (2 * size)
            matrix[row, min(mirrored, 2 * size - 1 - mirrored)] += weight / sum(weights)
    return matrix


def imresize(image, height, width, a=-0.5):
    rows = imresize_weights(image.shape[-2], height, a)
    columns = imresize_weights(image.shape[-1], width, a)
    return rows @ image @ columns.T


IMAGE = torch.rand(3, 36, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SIZES = [(18, 24), (12, 16), (9, 12), (72, 96), (108, 144)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_resized_is_imresize_inside_the_border(height, width):
    ours, theirs = resized(IMAGE, height, width), imresize(IMAGE, height, width)
    border = 2 * max(1, height // 36)
    inside = (..., slice(border, -border), slice(border, -border))
    torch.testing.assert_close(ours[inside], theirs[inside])
    assert not torch.allclose(ours[inside], imresize(IMAGE, height, width, a=-0.75)[inside], atol=1e-3)
    assert 1e-3 < float((ours - theirs).abs().max()) < 0.2  # the border, where MATLAB mirrors


def test_resized_takes_batches_and_enlarged_by_one_is_nothing():
    torch.testing.assert_close(resized(IMAGE[None], 18, 24)[0], resized(IMAGE, 18, 24))
    assert enlarged(IMAGE, 1) is IMAGE
    assert enlarged(IMAGE, 3).shape == (3, 108, 144)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_part_of_degraded_image_depends_on_its_margin_only(upscale):
    degradation = Degradation(upscale=upscale)
    whole = degradation.shrunk(IMAGE)
    margin, side = degradation.margin, 12
    top = left = 12  # multiples of all factors
    part = IMAGE[:, top - margin : top + side + margin, left - margin : left + side + margin]
    cut = degradation.shrunk(part)[:, 2:-2, 2:-2]
    small = slice(top // upscale, (top + side) // upscale)
    torch.testing.assert_close(cut, whole[:, small, small])
    less = IMAGE[:, top - upscale : top + side + upscale, left - upscale : left + side + upscale]
    assert not torch.allclose(degradation.shrunk(less)[:, 1:-1, 1:-1], whole[:, small, small], atol=1e-3)


def test_noise_has_the_size_asked_for_and_is_neither_cut_off_nor_rounded():
    clean = torch.full((3, 200, 200), 0.02)
    noisy = Degradation(noise=25)(clean, seed=3)
    assert float((noisy - clean).std()) == pytest.approx(25 / 255, rel=0.01)
    assert float(noisy.min()) < 0
    assert torch.equal(noisy, Degradation(noise=25)(clean, seed=3))
    assert not torch.equal(noisy, Degradation(noise=25)(clean, seed=4))


def test_noise_asks_no_global_generator():
    before = torch.get_rng_state()
    Degradation(noise=25)(torch.zeros(1, 4, 4), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_comes_after_shrinking():
    both = Degradation(noise=10, upscale=2)
    small = Degradation(upscale=2)(IMAGE, seed=0)
    torch.testing.assert_close(both(IMAGE, seed=5), Degradation(noise=10)(small, seed=5))


def test_small_image_holds_8_bits():
    steps = Degradation(upscale=2)(IMAGE.float(), seed=0) * 255
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


def test_rounded_cuts_off_and_rounds():
    values = torch.tensor([-0.3, 0.5 / 255 - 1e-4, 0.5 / 255 + 1e-4, 1.7])
    torch.testing.assert_close(rounded(values), torch.tensor([0, 0, 1 / 255, 1]))


def test_cropped_to_multiple_takes_from_the_end():
    image = torch.arange(7 * 11).reshape(1, 7, 11)
    assert torch.equal(cropped_to_multiple(image, 3), image[:, :6, :9])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing to restore; expected noise > 0 or upscale > 1"),
        ({"noise": -1}, "noise level out of range"),
        ({"noise": 300}, "noise level out of range"),
        ({"noise": float("nan")}, "noise level out of range"),
        ({"noise": 0.1}, "expected 0, or 1 and more, found 0.1; .* for 0.1 of the whole range give 25.5"),
        ({"upscale": 5}, "expected 1, 2, 3, 4, found 5"),
    ],
)
def test_impossible_degradations_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        Degradation(**settings)
