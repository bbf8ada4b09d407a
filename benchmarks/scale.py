"""What ImageNet-1k and ImageNet-21k would cost per method on 8 to 256 GPUs: a model, not a measurement.

    python benchmarks/scale.py [--models mobilenetv3_large_100=2732 resnet50=1218] [--batch-size 128] [--bus 25]

Hours = epochs * images / (GPUs * batch) * (compute + communication), per step:

* compute of plain training: batch / images per second of one GPU. That figure is an input. The defaults are those that
  timm publishes for one RTX 3090 (results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv of
  huggingface/pytorch-image-models), without data loading.
* compute of another method: plain compute times 1 + e w, where e is its extra time relative to plain as measured on
  a CPU (``step_time.jsonl``, torch's defaults, largest batch) and w the images times pixels of the measured step over
  those of this one. Extra work does not depend on the batch, so its share falls as the step grows. That a GPU has the
  same balance between this work and the convolutions as the CPU is an assumption; ``--device cuda`` records of
  ``step_time.py`` at this batch would replace it.
* communication: a ring all-reduce of the measured bytes (``communication.jsonl``), 2 (N - 1) / N bytes / bus bandwidth,
  none of it hidden behind the backward pass unless ``--overlap`` says so.

Writes the generated parts of docs/scale.md. Hours of other GPUs follow by proportion.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import communication
import step_time
from four_methods import GRADIENT, KERNEL, METHODS, PLAIN, RELEASED
from goals import default_steps
from lines import Lines
from pages import ROOT, replace_part, table
from ratios import ratio

PAGE = ROOT / "docs" / "scale.md"
IMAGES = {"ImageNet-1k": 1_281_167, "ImageNet-21k": 14_197_122}
GPUS = (8, 32, 64, 128, 256)
# timm's published images per second of plain training, AMP, channels last, on one RTX 3090
PUBLISHED = {
    "mobilenetv2_100": 2313.1,
    "mobilenetv3_large_100": 2732.4,
    "efficientnet_b0": 1751.7,
    "regnety_008": 993.3,
    "resnet18": 3481.8,
    "resnet50": 1218.0,
    "convnext_tiny": 819.2,
}
GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What the model takes for granted.

    Attributes:
        batch_size: images per GPU and step.
        img_size: their side.
        epochs: by data set.
        bus: bandwidth of an all-reduce, in gigabytes a second per GPU.
        overlap: share of the communication that the backward pass hides.
    """

    batch_size: int
    img_size: int
    epochs: dict[str, int]
    bus: float
    overlap: float


def step_seconds(
    images_per_second: float, factor: float, reduced: int, gpus: int, assumed: Assumptions
) -> tuple[float, float]:
    """Return the seconds of compute and of communication in a step.

    Args:
        images_per_second: of plain training on one GPU.
        factor: time of the method's compute over that of plain.
        reduced: bytes all-reduced in a step.
        gpus: how many.
        assumed: the assumptions.
    """
    compute = assumed.batch_size / images_per_second * factor
    ring = 2 * (gpus - 1) / gpus * reduced / (assumed.bus * GIGA)
    return compute, ring * (1 - assumed.overlap)


def factor(row: dict[str, Any], method: str, assumed: Assumptions) -> float:
    """Return the time of a method's compute over plain, carried over from the measured step to the assumed one."""
    if method == PLAIN:
        return 1.0
    setting = row["setting"]
    measured = setting["batch_size"] * setting["img_size"] ** 2
    share = measured / (assumed.batch_size * assumed.img_size**2)
    return float(1 + (ratio(row, method)[1] - 1) * share)


def cost(
    times: dict[str, Any], sent: dict[str, Any], speed: float, images: int, epochs: int, gpus: int, assumed: Assumptions
) -> dict[str, float]:
    """Return the hours of a run by method."""
    steps = epochs * images / (gpus * assumed.batch_size)
    return {
        method: steps
        * sum(step_seconds(speed, factor(times, method, assumed), sent["bytes"][method], gpus, assumed))
        / 3600
        for method in METHODS
    }


def hours(times: Lines, sent: Lines, speeds: dict[str, float], assumed: Assumptions) -> str:
    """Return the tables of hours, one per data set."""
    timed = {row["model"]: row for row in default_steps(times.rows, 16)}
    counted = {row["model"]: row for row in sent.rows}
    others = (RELEASED, KERNEL, GRADIENT)
    text = []
    for data, images in IMAGES.items():
        epochs = assumed.epochs[data]
        lines = []
        for model, speed in speeds.items():
            if model not in timed or model not in counted:
                continue
            for gpus in GPUS:
                found = cost(timed[model], counted[model], speed, images, epochs, gpus, assumed)
                more = (f"{round(gpus * (found[method] - found[PLAIN]), 1) or 0.0:+,.1f}" for method in others)
                lines.append((model, gpus, *(f"{found[method]:,.2f}" for method in METHODS), *more))
        header = ("model", "GPUs", *(f"{m}, hours" for m in METHODS), *(f"{m}, GPU hours more" for m in others))
        text.append(f"**{data}**, {images:,} images, {epochs} epochs\n\n{table(header, lines)}")
    return "\n\n".join(text)


def inputs(speeds: dict[str, float], assumed: Assumptions) -> str:
    """Return the assumptions as a list."""
    given = ", ".join(f"{model} {speed:,.0f}" for model, speed in speeds.items())
    source = "timm's published figures for one RTX 3090" if speeds == PUBLISHED else "given on the command line"
    return "\n".join(
        (
            f"* Images per second of plain training on one GPU ({source}): {given}.",
            f"* {assumed.batch_size} images per GPU and step, {assumed.img_size} px.",
            f"* All-reduce at {assumed.bus:g} GB/s per GPU (assumed), {assumed.overlap:.0%} of it hidden (assumed).",
            "* Loading of data keeps up, and no GPU waits for another (assumed).",
        )
    )


def main(given: Sequence[str] | None = None, page: Path = PAGE) -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="MODEL=IMAGES_PER_SECOND", help="speeds of plain training")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, nargs=2, default=(100, 30), help="ImageNet-1k and ImageNet-21k")
    parser.add_argument("--bus", type=float, default=25.0, help="GB/s per GPU of an all-reduce")
    parser.add_argument("--overlap", type=float, default=0.0, help="share of it that the backward pass hides")
    chosen = parser.parse_args(given)
    speeds = {name: float(speed) for name, speed in (item.split("=") for item in chosen.models or ())} or PUBLISHED
    assumed = Assumptions(
        batch_size=chosen.batch_size,
        img_size=chosen.img_size,
        epochs=dict(zip(IMAGES, chosen.epochs, strict=True)),
        bus=chosen.bus,
        overlap=chosen.overlap,
    )
    times, sent = Lines(step_time.RECORD, "model", "setting"), Lines(communication.RECORD, "model")
    replace_part(page, "assumptions", inputs(speeds, assumed))
    replace_part(page, "hours", hours(times, sent, speeds, assumed))


if __name__ == "__main__":
    main()
