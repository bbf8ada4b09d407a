"""``refconv merge``: the plain model out of a run's checkpoint, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.status import FAILED
from refconv.errors import RunError


def merge(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="a run folder, or its checkpoint.pt")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", show_default=False, help="the model folder to write")
    ],
    force: Annotated[bool, typer.Option("--force", help="replace a model folder that is there already")] = False,
) -> None:
    """Write the plain model of a run's checkpoint as a model folder, and certify that it computes the same.

    The folder loads with timm.create_model("local-dir:FOLDER", pretrained=True). The exit status is 3 if the
    certificate does not hold.

    Raises:
        RunError: if the folder exists.
        Exit: if the certificate does not hold.
    """
    if out.exists() and not force:
        raise RunError("exists already", where=str(out), remedy="give another folder, or --force to replace it")
    from refconv import surgery
    from refconv.training.architectures import model_arguments
    from refconv.training.model_data import random_input
    from refconv.training.model_folder import save_model_folder
    from refconv.training.opening import open_model
    from refconv.training.restore import restore

    restored = restore(run / "checkpoint.pt" if run.is_dir() else run)
    recipe = restored.recipe
    save_model_folder(
        out,
        surgery.plain_state_dict(restored.model),
        name=recipe.model,
        info=restored.info,
        model_kwargs=model_arguments(recipe, restored.info),
        preprocessing=restored.stated.values,
        task=recipe.task,
    )
    written = open_model(str(out))
    certificate = surgery.verify(restored.model, written.model, random_input(written, 16))
    typer.echo(f"{out}: {recipe.model} after {restored.step:,} steps\n{certificate}")
    if not (certificate.same_structure and certificate.same_outputs):
        raise typer.Exit(FAILED)
