"""``refconv predict``: what a model says about images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import option


@with_recipe_flags(PREPROCESSING)
def predict(
    flags: Mapping[str, Any],
    model: options.Reference,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="images, or folders of images")],
    out: Annotated[Path | None, option("FOLDER", "write pictures and predictions.json", "--out", "-o")] = None,
    threshold: Annotated[float | None, option("X", "minimum score; default for boxes: 0.5", min=0, max=1)] = None,
    device: options.Device = None,
    like: options.Like = None,
    task: options.TaskName = None,
    as_json: Annotated[bool, options.switch("--json", "print JSON, an object a line")] = False,
) -> None:
    """Predict on images: classes, boxes, segments, or the restored image.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from. Where neither says the size, that of the images is.
    Pictures are written with --out.
    """
    from refconv.models.opening import input_of, open_model
    from refconv.process.distributed import choose_device
    from refconv.tasks.predicting import image_files, looking_at, predictions, save_predictions
    from refconv.tasks.registry import task_named

    files = image_files(images)
    opened = looking_at(open_model(model, pretrained=True, model=like, task=task, flags=flags), files)
    preprocessing = input_of(opened) if task_named(opened.task).prepares_images else None
    if preprocessing is not None:
        typer.echo(f"images: {preprocessing}", err=True)
    found = []
    for file, prediction in predictions(opened, files, device=choose_device(device), threshold=threshold):
        line = json.dumps({"image": str(file), **prediction.content}, ensure_ascii=False)
        typer.echo(line if as_json else f"{file}: {prediction.words}")
        found.append((file, prediction))
    if out is not None:
        save_predictions(out, found)
        if not as_json:
            typer.echo(f"written to {out}")
