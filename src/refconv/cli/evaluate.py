"""``refconv eval``: how well a model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.errors import ModelError, SettingError

if TYPE_CHECKING:
    from refconv.data import Split


@with_recipe_flags(PREPROCESSING)
def evaluate(
    flags: Mapping[str, Any],
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL", help="run folder, checkpoint.pt, model folder, weights file or name of a model"
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", show_default=False, help="the data; default: that of the run"),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="FOLDER", show_default=False, help="folder of the data")
    ] = None,
    class_map: Annotated[
        str | None,
        typer.Option("--class-map", metavar="FILE", show_default=False, help="the model's class for each folder"),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="WORD", help="one of train, val, test")] = "test",
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="samples per step")] = 256,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=0, help="processes that decode images")] = 4,
    device: Annotated[
        str | None, typer.Option("--device", metavar="TEXT", show_default=False, help="default: the best there is")
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="compute in bf16 where that is safe")] = False,
    like: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", show_default=False, help="the model that a weights file belongs to"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="WORD", show_default=False, help="what a bare model does; default: as trained"),
    ] = None,
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
