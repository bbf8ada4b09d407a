"""Tables and pictures of the pages of tasks in docs, from studies of detection, segmentation, restoration and transfer.

    python benchmarks/tasks.py                          fill the pages from the committed records
    python benchmarks/tasks.py --take runs/detection    take over a study's folder first: record, bases, pictures

Taking over evaluates the bases on the test split, which nothing was chosen by, and draws what base, plainly continued
and refocused network say about the first test images. The records of the studies themselves go through results.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from pages import ROOT, replace_part, table
from refconv.data import Data
from refconv.engine.run_record import PRIMARY, RunRecord
from refconv.models.opening import Opened, open_model
from refconv.studies import Comparison
from refconv.studies.comparison import MEASURES
from refconv.studies.pages import sentences
from refconv.studies.runs import classifier
from refconv.studies.statistics import t_interval
from refconv.studies.summary import restated
from refconv.surgery import evaluating
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named

RECORD = Path(__file__).with_suffix(".json")
STUDIES = ROOT / "studies" / "records"
PAGES = {
    "detection": ROOT / "docs" / "detection.md",
    "transfer_detectors": ROOT / "docs" / "detection.md",
    "segmentation": ROOT / "docs" / "segmentation.md",
    "restoration": ROOT / "docs" / "restoration.md",
}
"""Per study, the page that shows it."""

PICTURES = ROOT / "docs" / "tasks"

BASELINES = {
    "detection": ("baseline_map", "the mean box of each class in every image"),
    "segmentation": ("baseline_miou", "every pixel of the most frequent class"),
    "restoration": ("input_psnr", "the noisy image itself"),
}
"""Per task, the measure under which a run notes what a model must beat, and what that is."""

_SHOWN, _SIDE, _MARGIN, _BATCH = 4, 192, 18, 16
_THRESHOLD = 0.4  # of the scores of boxes that are drawn


def take(folder: Path) -> dict[str, Any]:
    """Return what a page needs of a study's folder beyond its record, and draw the pictures.

    Args:
        folder: the folder of a study that has finished.
    """
    comparison = Comparison.read(folder / "comparison.json")
    name = comparison.cells[0].architecture
    seeds = comparison.seeds
    finals = {cell.method: [classifier(folder, name, cell.method, seed) for seed in seeds] for cell in comparison.cells}
    first = RunRecord.read(finals[comparison.reference][0] / "record.json")
    bases = [folder / "base" / name / f"seed-{seed}" for seed in seeds]
    bases = [base for base in bases if (base / "model").is_dir()]
    evaluated = [_evaluated(base) for base in bases]
    shown = {"base": bases[:1], **{method: runs[:1] for method, runs in finals.items()}}
    _draw(PICTURES / f"{comparison.name}.png", {title: run for title, runs in shown.items() for run in runs})
    baseline, words = BASELINES[first.task]
    return {
        "task": first.task,
        "baseline": first.measures[baseline],
        "baseline_words": words,
        "base": {key: [found[key] for found in evaluated] for key in (evaluated[0] if evaluated else {})},
    }


def _evaluated(run: Path) -> dict[str, float]:
    opened = open_model(str(run))
    task = task_named(opened.task)
    return task.evaluate(opened.model, data_for(opened), "test", batch_size=_BATCH).measures()


def _draw(path: Path, runs: dict[str, Path]) -> None:
    """Draw a row per test image: as the model sees it, then what each run says."""
    opened = {title: open_model(str(run)) for title, run in runs.items()}
    data = data_for(next(iter(opened.values())))
    samples, targets = next(data.eval_batches("test", batch_size=_SHOWN))
    images = [_picture(sample, data) for sample in samples]
    task, names = task_named(next(iter(opened.values())).task), data.info.class_names
    truths = [task.draw_ground_truth(image, target, names) for image, target in zip(images, targets, strict=True)]
    columns = {"input": images, "truth": truths, **{title: _said(model, images) for title, model in opened.items()}}
    sheet = Image.new("RGB", (len(columns) * _SIDE, _MARGIN + len(images) * _SIDE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (title, pictures) in enumerate(columns.items()):
        draw.text((column * _SIDE + 4, 3), title, fill="black")
        for row, picture in enumerate(pictures):
            sheet.paste(_fitted(picture), (column * _SIDE, _MARGIN + row * _SIDE))
    path.parent.mkdir(exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)


def _said(opened: Opened, images: list[Image.Image]) -> list[Image.Image]:
    task = task_named(opened.task)
    with evaluating(opened.model), torch.no_grad():
        found = [task.predict(opened, image, device=torch.device("cpu"), threshold=_THRESHOLD) for image in images]
    return [prediction.picture or image for prediction, image in zip(found, images, strict=True)]


def _picture(sample: torch.Tensor, data: Data) -> Image.Image:
    """Return a sample as an image of eight bits, its normalisation undone."""
    normalised = data.info.mean if task_normalises(data) else ()
    if normalised:
        mean, std = (torch.tensor(values)[:, None, None] for values in (data.info.mean, data.info.std))
        sample = sample * std + mean
    pixels = (sample.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def task_normalises(data: Data) -> bool:
    """Say whether the data normalises its samples: class maps' do, detectors and restorers see plain values."""
    return hasattr(data, "ignore_index")


def _fitted(picture: Image.Image) -> Image.Image:
    """Return the middle square of a picture, in the size of a cell."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.convert("RGB").crop((left, top, left + side, top + side)).resize((_SIDE - 4, _SIDE - 4))


def section(comparison: Comparison, more: dict[str, Any]) -> str:
    """Return the generated part of one study: the table, what the contrasts say, and the picture.

    Args:
        comparison: the study's record.
        more: what :func:`take` found.
    """
    measures = [MEASURES[name] for name in comparison.measures]
    primary = MEASURES[PRIMARY[more["task"]]]
    rows: list[Sequence[object]] = []
    without = [""] * (len(measures) - 1)
    ordered = [primary, *(measure for measure in measures if measure is not primary)]
    rows.append((more["baseline_words"], primary.shown(more["baseline"]), *without, ""))
    if more["base"]:
        rows.append(("base", *(_interval(more["base"].get(measure.name), measure) for measure in ordered), ""))
    for cell in comparison.cells:
        title = "base, continued plainly" if cell.method == comparison.reference else f"base, {cell.method}"
        if not more["base"]:
            title = f"from the classifier continued by {cell.method}"
        values = [_interval(cell.values[measure.name], measure) for measure in ordered]
        rows.append((title, *values, f"{cell.step_ratio:.2f}"))
    lines = [
        f"`refconv compare studies/{comparison.name}.toml`: {comparison.description}",
        "",
        table(("", *(measure.title for measure in ordered), "step, ratio to plain"), rows),
        "",
        *(f"* {sentence}" for sentence in sentences(comparison)),
        "",
        f"{len(comparison.seeds)} seeds; means over seeds and, in brackets, 95 % intervals. "
        f"{'; '.join((*comparison.data, *comparison.hardware))}.",
        "",
        f"![The first test images, the truth, and what the networks of the first seed say]"
        f"({PICTURES.name}/{comparison.name}.png)",
        *([f"\nBoxes with scores from {_THRESHOLD} on are drawn."] if more["task"] == "detection" else []),
    ]
    return "\n".join(lines)


def _interval(values: Sequence[float] | None, measure: Any) -> str:
    if not values:
        return ""
    found = t_interval(tuple(values))
    bounds = "" if found.low is None else f" ({measure.shown(found.low)} to {measure.shown(found.high)})"
    return f"{measure.shown(found.mean)}{bounds}"


def read() -> dict[str, dict[str, Any]]:
    """Return the record that was taken."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    return found


def main() -> None:
    """Take folders over if asked to, then fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, action="append", default=[], metavar="FOLDER")
    taken = read()
    for folder in parser.parse_args().take:
        taken[Comparison.read(folder / "comparison.json").name] = take(folder)
    RECORD.write_text(json.dumps(taken, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name, more in taken.items():
        replace_part(PAGES[name], name, section(restated(Comparison.read(STUDIES / f"{name}.json")), more))


if __name__ == "__main__":
    main()
