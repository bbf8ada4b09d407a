"""Robustness: how accuracy falls under attacks and corruptions, and how often a class survives a shift.

Three measures of one classifier, each in one passage through the data. For a pair, call them on both models with the
same arguments: sample number i meets the same random numbers in both, however the data are batched.

* Attacks look for samples on which the loss L is larger, within a ball of the largest norm around the given ones:
  FGSM (Goodfellow et al., ICLR 2015, arXiv 1412.6572): x' = clamp(x + e sign(dL/dx)); PGD (Madry et al., ICLR 2018,
  arXiv 1706.06083): from a random point of the ball, steps x <- x + a sign(dL/dx), each brought back into the ball and
  the valid range. A radius e is a share of the range of pixels from 0 to 1, so e / std per channel in normalised
  samples; attacked samples stay images. ``radius``, ``low`` and ``high`` are tensors that broadcast against samples.
* Corruptions are those of :mod:`refconv.analysis.images`.
* Shifts: Zhang, ICML 2019 (arXiv 1904.11486), here against the image that was not shifted: the share of (image,
  direction) whose class stays the same.

Note [Why not captum's FGSM and PGD]: they take gradient entries under 1e-6 for zero, which leaves the samples that the
model is surest of unattacked (its loss has nearly no slope there) and makes overconfident models look robust; their
random start draws from the global generator; they warn at every step. The tests compare with them, threshold off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, check_least, classify, drawn, observing
from refconv.analysis.images import CORRUPTIONS, STRENGTHS, Corruption, check_images, corrupt, table_for, valid_range
from refconv.analysis.timing import timed
from refconv.errors import DataError, SettingError
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, Curve, ShiftConsistency

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


@timed()
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
    unknown = [kind for kind in kinds if kind not in CORRUPTIONS]
    if unknown or not kinds:
        raise SettingError("unknown corruption", where="kinds", expected=", ".join(CORRUPTIONS), found=str(unknown))
    hits = {kind: torch.zeros(len(STRENGTHS), dtype=torch.long) for kind in kinds}
    left_out, table = dict[str, str](), ""
    passage = Passage(batches, max_samples, progress)
    with observing(model), torch.no_grad():
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
            clean = _right(model, samples, targets)
            for kind, counts in hits.items():
                counts[0] += clean
                for strength in STRENGTHS[1:]:
                    changed = corrupt(pixels, kind, strength, table=table, noise=noise)
                    counts[strength] += _right(model, changed * scale + low, targets)
    if not hits:
        raise DataError("no corruption is left to measure", found="; ".join(left_out.values()))
    strengths = tuple(map(float, STRENGTHS))
    curves = tuple(_curve(kind, strengths, counts, passage.samples) for kind, counts in hits.items())
    overall = sum(curve.mean for curve in curves) / len(curves)
    return CorruptionRobustness(passage.samples, passage.cut, table, curves, overall, left_out)


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
