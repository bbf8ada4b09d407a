"""How the final models of a study bear what they were not trained on: corruptions, attacks and shifts of test images.

    python benchmarks/robustness.py runs/tuned

Goes through the final runs of a study of image classifiers, as ``refconv compare`` left them, and adds a line for each
to ``benchmarks/robustness.jsonl``; what is there is not measured again. ``python benchmarks/results.py`` shows the
differences, paired by seed. Nothing is chosen by these numbers.

Every model meets the same images with the same noise (see :mod:`refconv.analysis.measures.robustness`): 2,048 test
images in an order drawn once, of which the first 512 are attacked. A line holds, as shares from 0 to 1: accuracy on
those images as they are; its mean over five corruptions at five strengths; its mean over five radii of an attack by
projected gradient descent (1/510 to 8/255); and how many of (image, direction) keep their class, in the mean over
shifts by 1 to 4 pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from differences import shown
from lines import Lines
from pages import table
from refconv.analysis.answers import KeptBatches
from refconv.analysis.measures.robustness import (
    CORRUPTIONS,
    RADII,
    STRENGTHS,
    adversarial_robustness,
    corruption_robustness,
    shift_consistency,
)
from refconv.data.dataset import in_drawn_order
from refconv.models.opening import Opened, open_model
from refconv.studies import Comparison
from refconv.studies.comparison import MEASURES as STUDIED
from refconv.studies.runs import file_name
from refconv.studies.statistics import t_interval
from refconv.tasks.model_data import data_for

RECORD = Path(__file__).with_suffix(".jsonl")
KEYS = ("study", "architecture", "method", "seed")
IMAGES, ATTACKED, BATCH = 2048, 512, 128
MEASURES = {
    "clean": "as they are",
    "corrupted": "corrupted",
    "attacked": "attacked",
    "shifted": "class kept when shifted",
}
"""What is measured, and how the table calls it."""
SHARE = STUDIED["top1"]
"""All of them are shares, shown in points as accuracy is."""


def measured(opened: Opened, *, images: int = IMAGES, attacked: int = ATTACKED) -> dict[str, float]:
    """Return what one classifier of images bears, by the names in :data:`MEASURES`.

    Args:
        opened: the classifier, with the recipe that names its data.
        images: test images that are corrupted and shifted.
        attacked: how many of them are attacked.
    """
    data, _, _ = in_drawn_order(data_for(opened), "test", images)
    batches = KeptBatches(lambda: data.eval_batches("test", batch_size=BATCH))
    scale: dict[str, Any] = {"mean": data.info.mean, "std": data.info.std}
    shifts = shift_consistency(opened.model, batches, max_samples=images)
    attacks = adversarial_robustness(opened.model, batches, max_samples=attacked, **scale)
    pgd = next(curve for curve in attacks.curves if curve.kind == "pgd")
    return {
        "clean": shifts.clean_accuracy,
        "corrupted": corruption_robustness(opened.model, batches, max_samples=images, **scale).mean,
        "attacked": pgd.mean,
        "shifted": sum(shifts.same) / len(shifts.same),
    }


def final_runs(folder: Path, comparison: Comparison) -> list[tuple[str, str, int, Path]]:
    """Return architecture, method, seed and folder of the final runs of a study, those with the chosen settings.

    A grid that was widened may have left final runs with settings that were chosen before.

    Args:
        folder: of the study.
        comparison: its record.
    """
    found = []
    for cell in comparison.cells:
        for seed in comparison.seeds:
            parts = [cell.architecture, cell.method, *([file_name(cell.point)] if cell.point else []), f"seed-{seed}"]
            place = folder.joinpath("final", *parts)
            if not place.is_dir():
                raise SystemExit(f"{place}: no such run; run the study with refconv compare first")
            found.append((cell.architecture, cell.method, seed, place))
    return found


def section(rows: Sequence[Mapping[str, Any]], reference: str = "plain") -> str:
    """Return a table of differences, paired by seed, of every method to the reference, in points; bold: zero excluded.

    Args:
        rows: the lines of the record.
        reference: the method that the others are compared with.
    """
    if not rows:
        return "Open: nothing has been measured yet."
    values = {tuple(row[key] for key in KEYS): row for row in rows}
    cells = dict.fromkeys((row["study"], row["architecture"], row["method"]) for row in rows)
    lines, clear, total = [], 0, 0
    for study, architecture, method in cells:
        if method == reference:
            continue
        seeds = [key[3] for key in values if key[:3] == (study, architecture, method)]
        line = [f"[{study}](#{study})", architecture, f"{method} minus {reference}"]
        for measure in MEASURES:
            own, other = (
                [values[study, architecture, name, seed][measure] for seed in seeds] for name in (method, reference)
            )
            resolution = SHARE.resolution(ATTACKED if measure == "attacked" else IMAGES)
            interval = t_interval([a - b for a, b in zip(own, other, strict=True)], resolution)
            clear, total = clear + abs(interval.side), total + 1
            line.append(shown(interval, SHARE))
        lines.append(line)
    return (
        "The final models of a study on test images that were corrupted "
        f"({len(CORRUPTIONS)} corruptions at {len(STRENGTHS) - 1} strengths), attacked "
        f"(projected gradient descent, {len(RADII)} radii) and shifted (1 to 4 pixels): differences in points, "
        f"paired by seed, with 95 % intervals. All models meet the same {IMAGES:,} images, of which {ATTACKED} are "
        f"attacked. {clear} of {total} intervals exclude zero (bold); nothing was chosen by these numbers, which "
        "`python benchmarks/robustness.py runs/NAME` measures.\n\n"
        + table(["study", "architecture", "difference", *MEASURES.values()], lines)
    )


def main() -> None:
    """Measure what the record lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a study that refconv compare has finished")
    folder = parser.parse_args().folder
    comparison = Comparison.read(folder / "comparison.json")
    record = Lines(RECORD, *KEYS)
    for architecture, method, seed, place in final_runs(folder, comparison):
        what: dict[str, Any] = dict(zip(KEYS, (comparison.name, architecture, method, seed), strict=True))
        if record.has(**what):
            continue
        found = {name: round(value, 6) for name, value in measured(open_model(str(place))).items()}
        record.put({**what, **found})
        print(*what.values(), *(f"{name} {value:.4f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
