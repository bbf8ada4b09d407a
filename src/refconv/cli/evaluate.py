"""``refconv eval``: how well a model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import ClassMapFile, DataFolder, DataName, Device, Like, Reference, SplitName, TaskName
from refconv.errors import ModelError, SettingError

if TYPE_CHECKING:
    from refconv.data import Split


@with_recipe_flags(PREPROCESSING)
def evaluate(
    flags: Mapping[str, Any],
    model: Reference,
    data: DataName = None,
    data_dir: DataFolder = None,
    class_map: ClassMapFile = None,
    split: SplitName = "test",
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="samples per step")] = 256,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=0, help="processes that decode images")] = 4,
    device: Device = None,
    amp: Annotated[bool, typer.Option("--amp", help="compute in bf16 where that is safe")] = False,
    like: Like = None,
    task: TaskName = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the record instead of the line")] = False,
) -> None:
    """Evaluate a model by the measures of its task: top-1, mAP, mIoU or PSNR.

    A model's bare name is evaluated with its pretrained weights.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from.

    Raises:
        SettingError: if there is no such split or task.
        ModelError: if the model's outputs are not finite.
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
    with Evaluating(model, images, part := cast("Split", split)):
        found = task_named(opened.task).evaluate(
            opened.model.to(place), images, part, batch_size=batch_size, device=place, amp=amp
        )
    if not found.finite:
        raise ModelError(
            "its outputs on this data are not finite, so it has no loss",
            where=model,
            remedy="check the preprocessing and how the weights were trained",
        )
    typer.echo(found.to_json() if as_json else f"{model} on {images.info.name}, {split}: {found}", nl=not as_json)
