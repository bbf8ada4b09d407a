"""``refconv predict``: what a model says about images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.flags import PREPROCESSING, with_recipe_flags


@with_recipe_flags(PREPROCESSING)
def predict(
    flags: Mapping[str, Any],
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL", help="run folder, checkpoint.pt, model folder, weights file or name of a model"
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="images, or folders of images")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", show_default=False, help="write pictures and predictions.json"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", metavar="X", min=0, max=1, show_default=False, help="minimum score; default for boxes: 0.5"
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="TEXT", show_default=False, help="default: the best there is")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", show_default=False, help="the model that a weights file belongs to"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="WORD", show_default=False, help="what a bare model does; default: as trained"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, an object a line")] = False,
) -> None:
    """Say what a model sees in images: classes, boxes, areas, or the restored image.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from. Where neither says the size, that of the images is.
    Pictures are written with --out.
    """
    from refconv.models.opening import open_model
    from refconv.process.distributed import choose_device
    from refconv.tasks.predicting import image_files, looking_at, predictions, save_predictions
    from refconv.tasks.registry import task_named

    files = image_files(images)
    opened = looking_at(open_model(model, pretrained=True, model=like, task=task, flags=flags), files)
    preprocessing = task_named(opened.task).preparation(opened)
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
