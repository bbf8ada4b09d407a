"""Robustness: how accuracy falls under attacks and corruptions, and how often a class survives a shift.

Three measures of one classifier, each in one passage through the data. For a pair, call them on both models with the
same arguments: sample number i meets the same random numbers in both, however the data are batched.

* Attacks look for samples on which the loss L is larger, within a ball of the largest norm around the given ones:
  FGSM (Goodfellow et al., ICLR 2015, arXiv 1412.6572): x' = clamp(x + e sign(dL/dx)); PGD (Madry et al., ICLR 2018,
  arXiv 1706.06083): from a random point of the ball, steps x <- x + a sign(dL/dx), each brought back into the ball and
  the valid range. A radius e is a share of the range of pixels from 0 to 1, so e / std per channel in normalised
  samples; attacked samples stay images. ``radius``, ``low`` and ``high`` are tensors that broadcast against samples.
* Corruptions are those of Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261), at their five strengths s: of
  ImageNet-C for images of more than 64 pixels, of CIFAR-10-C for smaller ones; strength 0 is the image itself. On
  pixels x from 0 to 1, each followed by clamping:

  * ``gaussian_noise``: x + s z, z standard normal;
  * ``gaussian_blur``: a Gaussian of standard deviation s pixels, the border repeated;
  * ``contrast``: m + s (x - m), m the mean of each image and channel;
  * ``brightness``: the value of HSV, the largest channel, raised by s; hue and saturation stay;
  * ``jpeg_compression``: saved as JPEG of quality s and read again, which takes pixels in 256 steps.
* Shifts: Zhang, ICML 2019 (arXiv 1904.11486), here against the image that was not shifted: the share of (image,
  direction) whose class stays the same.

Note [Why not captum's FGSM and PGD]: they take gradient entries under 1e-6 for zero, which leaves the samples that the
model is surest of unattacked (its loss has nearly no slope there) and makes overconfident models look robust; their
random start draws from the global generator; they warn at every step. The tests compare with them, threshold off.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, check_least, classify, drawn, observing
from refconv.analysis.timing import timed
from refconv.errors import DataError, SettingError
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, Curve, ShiftConsistency

Corruption = Literal["gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg_compression"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)

STRENGTHS = (0, 1, 2, 3, 4, 5)
SMALL = 64  # images whose shorter side has at most this many pixels get the strengths of CIFAR-10-C
TOLERANCE = 0.02  # of pixels outside 0 to 1, as resizing and rounding leave them

LEVELS: dict[str, dict[Corruption, tuple[float, ...]]] = {
    "ImageNet-C": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "jpeg_compression": (25, 18, 15, 10, 7),
    },
    "CIFAR-10-C": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
}
"""The numbers s of strengths 1 to 5, per table."""

RADII = (0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@timed(lambda radii, **_: len(radii), radii=RADII[:1])
def adversarial_robustness(
    model: nn.Module,
    batches: Batches,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    radii: Sequence[float] = RADII,
    steps: int = 10,
    seed: int = 0,
    max_samples: int | None = 512,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> AdversarialRobustness:
    """Measure a classifier's accuracy under FGSM and PGD.

    Args:
        radii: of the balls, as shares of the range of pixels.
        steps: of PGD, each of 2.5 / steps of the radius.
        max_samples: samples to stop at; each costs (1 + steps) gradients per radius.
    """
    if not radii or min(radii) <= 0 or steps < 1:
        found = f"radii {tuple(radii)}, steps {steps}"
        raise SettingError("there is nothing to attack with", expected="radii above 0, 1 step or more", found=found)
    strengths = (0.0, *sorted(set(map(float, radii))))
    hits = torch.zeros(2, len(strengths), dtype=torch.long)
    passage = Passage(batches, max_samples, progress)
    with observing(model), torch.no_grad():
        for samples, targets in passage:
            low, high, scale = valid_range(samples, mean, std)
            start = drawn(samples, passage.samples, seed, normal=False)
            hits[:, 0] += _right(model, samples, targets)
            for place, radius in enumerate(strengths[1:], 1):
                ball = radius * scale
                moved = fgsm(model, samples, targets, radius=ball, low=low, high=high)
                hits[0, place] += _right(model, moved, targets)
                moved = pgd(model, samples, targets, radius=ball, low=low, high=high, steps=steps, start=start)
                hits[1, place] += _right(model, moved, targets)
    curves = (_curve(kind, strengths, row, passage.samples) for kind, row in zip(("fgsm", "pgd"), hits, strict=True))
    return AdversarialRobustness(passage.samples, passage.cut, steps, tuple(curves))


def corruption_robustness(
    model: nn.Module,
    batches: Batches,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    kinds: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> CorruptionRobustness:
    """Measure a classifier's accuracy under common corruptions at five strengths.

    Args:
        kinds: which corruptions.
        seed: of the noise; one image's noise has the same pattern at all strengths.
    """
    how: dict[str, Any] = {"max_samples": max_samples, "max_seconds": max_seconds, "progress": progress}
    (found,) = corruptions_of((model,), batches, mean=mean, std=std, kinds=kinds, seed=seed, **how)
    return found


@timed()
def corruptions_of(
    models: Sequence[nn.Module],
    batches: Batches,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    kinds: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> tuple[CorruptionRobustness, ...]:
    """Return the record of each classifier; the images are corrupted once for all, a batch at a time."""
    unknown = [kind for kind in kinds if kind not in CORRUPTIONS]
    if unknown or not kinds:
        raise SettingError("unknown corruption", where="kinds", expected=", ".join(CORRUPTIONS), found=str(unknown))
    hits = {kind: torch.zeros(len(models), len(STRENGTHS), dtype=torch.long) for kind in kinds}
    left_out, table = dict[str, str](), ""
    passage = Passage(batches, max_samples, progress)
    with observing(*models), torch.no_grad():
        for samples, targets in passage:
            check_images(samples)
            low, _, scale = valid_range(samples, mean, std)
            if not table:
                table = table_for(samples)
                if "jpeg_compression" in hits and samples.shape[1] not in {1, 3}:
                    del hits["jpeg_compression"]
                    left_out["jpeg_compression"] = f"JPEG takes one channel or three, found {samples.shape[1]}"
            pixels = ((samples - low) / scale).clamp(0, 1)
            noise = drawn(samples, passage.samples, seed, normal=True)
            clean = torch.tensor([_right(model, samples, targets) for model in models])
            for kind, counts in hits.items():
                counts[:, 0] += clean
                for strength in STRENGTHS[1:]:
                    changed = corrupt(pixels, kind, strength, table=table, noise=noise) * scale + low
                    counts[:, strength] += torch.tensor([_right(model, changed, targets) for model in models])
    if not hits:
        raise DataError("no corruption is left to measure", found="; ".join(left_out.values()))
    strengths, count = tuple(map(float, STRENGTHS)), passage.samples
    found = []
    for place in range(len(models)):
        curves = tuple(_curve(kind, strengths, counts[place], count) for kind, counts in hits.items())
        overall = sum(curve.mean for curve in curves) / len(curves)
        found.append(CorruptionRobustness(count, passage.cut, table, curves, overall, left_out))
    return tuple(found)


@timed()
def shift_consistency(
    model: nn.Module,
    batches: Batches,
    *,
    pixels: int = 4,
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> ShiftConsistency:
    """Measure how often a classifier keeps its class when images move.

    Images move up, down, left and right; the border is repeated in what becomes free.

    Args:
        pixels: the largest distance.
    """
    check_least(1, "there is nothing to shift by", pixels=pixels)
    same, right, stable = (torch.zeros(pixels, dtype=torch.long) for _ in range(3))
    clean = 0
    passage = Passage(batches, max_samples, progress)
    with observing(model), torch.no_grad():
        for samples, targets in passage:
            check_images(samples, larger_than=pixels)
            classes = classify(model, samples, targets).argmax(1)
            clean += int((classes == targets).sum())
            kept = torch.ones_like(classes, dtype=torch.bool)
            for distance in range(1, pixels + 1):
                for down, across in _DIRECTIONS:
                    moved = shifted(samples, down * distance, across * distance)
                    found = classify(model, moved, targets).argmax(1)
                    same[distance - 1] += int((found == classes).sum())
                    right[distance - 1] += int((found == targets).sum())
                    kept &= found == classes
                stable[distance - 1] += int(kept.sum())
    count = passage.samples
    return ShiftConsistency(
        samples=count,
        cut=passage.cut,
        pixels=tuple(range(1, pixels + 1)),
        same=_shares(same, count * len(_DIRECTIONS)),
        stable=_shares(stable, count),
        accuracy=_shares(right, count * len(_DIRECTIONS)),
        clean_accuracy=clean / count,
    )


def fgsm(model: nn.Module, samples: Tensor, targets: Tensor, *, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return samples [batch, channels, ...] moved by one signed gradient step, of a classifier in eval mode."""
    return torch.clamp(samples + radius * gradient_sign(model, samples, targets), low, high)


def pgd(
    model: nn.Module,
    samples: Tensor,
    targets: Tensor,
    *,
    radius: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    start: Tensor,
) -> Tensor:
    """Return samples moved by signed gradient steps inside the ball, each 2.5 / steps of the radius as in the paper.

    ``start`` is the first point, as shares of the radius from -1 to 1.
    """
    step = radius * (2.5 / steps)
    moved = torch.clamp(samples + radius * start, low, high)
    for _ in range(steps):
        moved = moved + step * gradient_sign(model, moved, targets)
        moved = torch.clamp(torch.clamp(moved, samples - radius, samples + radius), low, high)
    return moved


def gradient_sign(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return the sign of each sample's gradient of its own cross-entropy, without touching the model's gradients."""
    with torch.enable_grad():  # in float64, where the slope of a very sure output is not rounded to zero
        moved = samples.detach().clone().requires_grad_(True)
        losses = F.cross_entropy(classify(model, moved, targets), targets.long(), reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), moved)
    return gradient.sign()


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Return images moved by whole pixels, the border repeated in what becomes free."""
    rows = (torch.arange(images.shape[2], device=images.device) - down).clamp(0, images.shape[2] - 1)
    columns = (torch.arange(images.shape[3], device=images.device) - right).clamp(0, images.shape[3] - 1)
    return images[:, :, rows][:, :, :, columns]


def _right(model: nn.Module, samples: Tensor, targets: Tensor) -> int:
    return int((classify(model, samples, targets).argmax(1) == targets).sum())


def _shares(counts: Tensor, total: int) -> tuple[float, ...]:
    return tuple((counts.double() / total).tolist())


def _curve(kind: str, strengths: tuple[float, ...], hits: Tensor, samples: int) -> Curve:
    accuracy = _shares(hits, samples)
    return Curve(kind, strengths, accuracy, sum(accuracy[1:]) / len(accuracy[1:]))


def valid_range(samples: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised 0, normalised 1 and their distance, per channel, of the shape [1, channels, 1, ...].

    Samples [batch, channels, ...] that are no images under this normalisation are refused.
    """
    if not len(mean) == len(std) == samples.shape[1] or min(std) <= 0:
        expected = f"mean and std of {samples.shape[1]} channels, std above 0"
        found = f"mean {tuple(mean)}, std {tuple(std)}"
        raise DataError("the normalisation does not fit the samples", expected=expected, found=found)
    shape = (1, -1, *[1] * (samples.ndim - 2))
    shift, spread = (torch.tensor(list(values), dtype=torch.float64).reshape(shape) for values in (mean, std))
    low, high, scale = ((value / spread).to(samples) for value in (-shift, 1 - shift, torch.ones_like(spread)))
    margin = TOLERANCE * scale
    if bool((samples < low - margin).any()) or bool((samples > high + margin).any()):
        pixels = (samples - low) / scale
        expected, found = "sample * std + mean from 0 to 1", f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
        problem = "the samples are no images under this normalisation"
        remedy = "give the mean and std that the samples were normalised with"
        raise DataError(problem, expected=expected, found=found, remedy=remedy)
    return low, high, scale


def check_images(samples: Tensor, larger_than: int = 0) -> None:
    """Refuse samples that are not [batch, channels, height, width], each side of more than so many pixels."""
    if samples.ndim != 4 or min(samples.shape[2:]) <= larger_than:
        size = f" of more than {larger_than} pixels a side" if larger_than else ""
        expected = f"samples [batch, channels, height, width]{size}"
        raise DataError("this measure needs images", expected=expected, found=str(list(samples.shape)))


def table_for(pixels: Tensor) -> str:
    """Return the table of strengths that suits images [batch, channels, height, width]."""
    return "CIFAR-10-C" if min(pixels.shape[2:]) <= SMALL else "ImageNet-C"


def corrupt(pixels: Tensor, kind: Corruption, strength: int, *, table: str, noise: Tensor) -> Tensor:
    """Return images corrupted with the numbers of a table of :data:`LEVELS`; ``noise`` is standard normal."""
    if strength == 0:
        return pixels
    s = LEVELS[table][kind][strength - 1]
    if kind == "gaussian_noise":
        changed = pixels + s * noise
    elif kind == "gaussian_blur":
        changed = blurred(pixels, s)
    elif kind == "contrast":
        mean = pixels.mean((2, 3), keepdim=True)
        changed = mean + s * (pixels - mean)
    elif kind == "brightness":
        changed = brightened(pixels, s)
    else:
        changed = jpeg_compressed(pixels, int(s))
    return changed.clamp(0, 1)


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """Return images after a Gaussian filter, cut off at four standard deviations, the border repeated."""
    if sigma == 0:
        return pixels
    reach = int(4 * sigma + 0.5)
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (weights / weights.sum()).to(pixels).expand(pixels.shape[1], 1, -1)
    padded = F.pad(pixels, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=pixels.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=pixels.shape[1])


def brightened(pixels: Tensor, amount: float) -> Tensor:
    """Return images whose value in HSV is larger by an amount, at most 1.

    With hue and saturation kept, all channels of a pixel grow by one factor; black, which has no hue, becomes grey.
    """
    value = pixels.amax(1, keepdim=True)
    raised = (value + amount).clamp(max=1)
    return torch.where(value > 0, pixels * (raised / value.clamp(min=torch.finfo(value.dtype).tiny)), raised)


def jpeg_compressed(pixels: Tensor, quality: int) -> Tensor:
    """Return images saved as JPEG and read again."""
    if pixels.shape[1] not in {1, 3}:
        raise DataError("JPEG takes images of one channel or three", found=f"{pixels.shape[1]} channels")
    try:
        from PIL import Image
    except ImportError as error:
        raise SettingError("JPEG compression needs Pillow", remedy='pip install "refconv[analysis]"') from error
    steps = (pixels.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    height, width, channels = steps.shape[1:]
    mode = "L" if channels == 1 else "RGB"
    found = []
    for image in steps:
        with io.BytesIO() as file:
            Image.frombytes(mode, (width, height), image.numpy().tobytes()).save(file, "JPEG", quality=quality)
            read = torch.frombuffer(bytearray(Image.open(file).convert(mode).tobytes()), dtype=torch.uint8)
        found.append(read.reshape(height, width, channels).permute(2, 0, 1))
    return torch.stack(found).to(pixels) / 255
