"""``refconv eval``: how well a model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import option
from refconv.errors import ModelError, SettingError


@with_recipe_flags(PREPROCESSING)
def eval_(
    flags: Mapping[str, Any],
    model: options.Reference,
    data: options.DataName = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    batch_size: Annotated[int, option("N", "samples per step", min=1)] = 256,
    workers: Annotated[int, option("N", "processes that decode images", min=0)] = 4,
    device: options.Device = None,
    amp: Annotated[bool, options.switch("--amp", "compute in bf16 where that is safe")] = False,
    like: options.Like = None,
    task: options.TaskName = None,
    as_json: options.Json = False,
) -> None:
    """Evaluate a model by the measures of its task: top-1, mAP, mIoU or PSNR.

    A model's bare name is evaluated with its pretrained weights.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from.
    """
    if split not in {"train", "val", "test"}:
        raise SettingError("unknown split", where="--split", expected="train, val or test", found=repr(split))
    from refconv.models.opening import open_model
    from refconv.process.distributed import choose_device
    from refconv.process.progress import Evaluating
    from refconv.tasks.model_data import data_for
    from refconv.tasks.registry import task_named

    place = choose_device(device)
    opened = open_model(model, pretrained=True, model=like, task=task, flags=flags)
    images = data_for(opened, data, root=data_dir, workers=workers, class_map=class_map)
    for line in images.said:
        typer.echo(line, err=True)
    part: Any = split
    settings: dict[str, Any] = {"batch_size": batch_size, "device": place, "amp": amp}
    with Evaluating(model, images, part):
        found = task_named(opened.task).evaluate(opened.model.to(place), images, part, **settings)
    if not found.finite:
        remedy = "check the preprocessing and how the weights were trained"
        raise ModelError("its outputs on this data are not finite, so it has no loss", where=model, remedy=remedy)
    typer.echo(found.to_json() if as_json else f"{model} on {images.info.name}, {split}: {found}", nl=not as_json)
