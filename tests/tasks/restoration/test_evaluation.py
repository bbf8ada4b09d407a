"""PSNR and SSIM are scikit-image's, luma is BT.601's."""

import math

import numpy as np
import pytest
import torch

from refconv.tasks.restoration.evaluation import compared, luma, psnr, ssim

metrics = pytest.importorskip("skimage.metrics")
color = pytest.importorskip("skimage.color")


def pair(channels=3, height=40, width=33):
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(channels, height, width, dtype=torch.float64, generator=generator)
    noise = 0.1 * torch.randn(channels, height, width, dtype=torch.float64, generator=generator)
    return clean + noise, clean


def test_luma_is_that_of_8_bit_images():
    image, _ = pair()
    eight_bit = np.clip(np.round(image.numpy() * 255), 0, 255) / 255
    torch.testing.assert_close(luma(image), torch.from_numpy(color.rgb2ycbcr(eight_bit, channel_axis=0)[0]))


def test_luma_of_a_grey_image_is_its_values():
    image, _ = pair(channels=1)
    assert torch.equal(luma(image), (image[0] * 255).round().clamp(0, 255))
    assert luma(torch.ones(1, 1, 1)).item() == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_scikit_images(channels):
    image, clean = map(luma, pair(channels))
    theirs = metrics.peak_signal_noise_ratio(clean.numpy(), image.numpy(), data_range=255)
    assert psnr(image, clean) == pytest.approx(theirs, rel=1e-12)
    assert psnr(clean, clean) == math.inf


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels):
    image, clean = map(luma, pair(channels))
    settings = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5}
    theirs = metrics.structural_similarity(clean.numpy(), image.numpy(), use_sample_covariance=False, **settings)
    assert ssim(image, clean) == pytest.approx(theirs, rel=1e-9)
    assert ssim(clean, clean) == pytest.approx(1)
    other = metrics.structural_similarity(clean.numpy(), image.numpy(), **settings)  # variances of a sample
    assert ssim(image, clean) != pytest.approx(other, rel=1e-6)


def test_colour_is_compared_as_scikit_image_compares_it():
    images = pair()
    image, clean = (compared(values, "rgb") for values in images)
    theirs = metrics.peak_signal_noise_ratio(clean.numpy(), image.numpy(), data_range=255)
    assert psnr(image, clean) == pytest.approx(theirs, rel=1e-12)
    per_channel = [psnr(a, b) for a, b in zip(image, clean, strict=True)]
    assert psnr(image, clean) != pytest.approx(np.mean(per_channel), rel=1e-6)  # the mean of ratios is another
    settings = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = metrics.structural_similarity(clean.numpy(), image.numpy(), channel_axis=0, **settings)
    assert ssim(image, clean) == pytest.approx(theirs, rel=1e-9)
    assert psnr(*(compared(values, "luma") for values in images)) > psnr(image, clean) + 2  # noise averages out
    full = [color.rgb2gray(np.clip(np.round(v.numpy() * 255), 0, 255), channel_axis=0) for v in images]
    assert psnr(*map(torch.from_numpy, full)) != pytest.approx(psnr(*map(luma, images)), abs=0.1)  # no footroom
