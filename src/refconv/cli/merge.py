"""``refconv merge``: the plain model out of a run's checkpoint, or out of refocused weights of another program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli.flags import PREPROCESSING, chosen, flag, with_recipe_flags
from refconv.cli.options import option, switch
from refconv.cli.outputs import FAILED
from refconv.cli.plan import method_settings
from refconv.config import FIELDS, RefocusConfig
from refconv.errors import RunError, SettingError

if TYPE_CHECKING:
    from torch import nn

_ARCHITECTURE = ("num_classes", "in_chans", "model_kwargs")
_KERNELS = tuple(FIELDS[name] for name in RefocusConfig().settings())
_RUN = "a run folder, its checkpoint.pt, or a file of refocused weights with --model"


@with_recipe_flags(("model", *_ARCHITECTURE, *PREPROCESSING, "method", "method_kwargs", *_KERNELS))
def merge(
    flags: Mapping[str, Any],
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help=_RUN)],
    out: Annotated[Path, option("FOLDER", "the model folder to write", "--out", "-o")],
    force: Annotated[bool, switch("--force", "replace an existing model folder")] = False,
) -> None:
    """Write the plain model of a run's checkpoint as a model folder, and certify that it computes the same.

    A file of refocused weights that another training program saved is merged too: --model names its architecture. If
    torch.save kept the metadata of model.state_dict(), the file says how its kernels were refocused; else the flags
    --power, --order and so on have to. The folder loads with timm.create_model("local-dir:FOLDER", pretrained=True).
    The exit status is 3 if the certificate does not hold.
    """
    if out.exists() and not force:
        raise RunError("exists already", where=str(out), remedy="give another folder, or --force to replace it")
    from refconv.models.model_folder import is_model_folder
    from refconv.models.opening import open_model
    from refconv.models.weight_files import is_run_checkpoint, weights_file
    from refconv.tasks.model_data import random_input
    from refconv.tasks.registry import task_named

    if is_model_folder(run):
        what = "is plain already, so there is nothing to merge"
        raise RunError(what, where=str(run), expected="a run or a checkpoint")
    file = run / "checkpoint.pt" if (run / "checkpoint.pt").is_file() else run
    if flags:
        file = weights_file(file)
    if "model" in flags and not is_run_checkpoint(file):
        before, words = _merge_weights(file, flags, out)
    elif flags:
        why = ": a run says itself what its model is" if "model" in flags else " without --model"
        raise SettingError(f"has no effect{why}", where=flag(next(iter(flags))))
    else:
        before, words = _merge_run(file, out)
    written = open_model(str(out))
    certificate = task_named(written.task).certify(before, written.model, random_input(written, 16))
    typer.echo(f"{out}: {words}\n{certificate}")
    if not (certificate.same_structure and certificate.same_outputs):
        raise typer.Exit(FAILED)


def _merge_run(file: Path, out: Path) -> tuple[nn.Module, str]:
    """Write the plain model of a run's checkpoint; return the model in training, and what was written in words."""
    from refconv import surgery
    from refconv.models.creation import ModelSpec, restore
    from refconv.models.model_folder import save_model_folder

    restored = restore(file)
    recipe = restored.recipe
    save_model_folder(
        out,
        surgery.plain_state_dict(restored.model),
        name=recipe.model,
        info=restored.info,
        model_kwargs=ModelSpec.of_run(recipe, restored.info).model_kwargs,
        preprocessing=restored.stated.values,
        task=recipe.task,
    )
    return restored.model, f"{recipe.model} after {restored.step:,} steps"


def _merge_weights(file: Path, flags: Mapping[str, Any], out: Path) -> tuple[nn.Module, str]:
    """Write the plain model of a file of refocused weights; return it, and what was written in words."""
    from refconv.models.creation import merge_weights

    given = method_settings(flags)
    settings = {**({"transform": flags["method"]} if "method" in flags else {}), **given}
    stated = chosen(flags, PREPROCESSING)
    built = chosen(flags, _ARCHITECTURE)
    merged = merge_weights(file, flags["model"], out, settings=settings, flags=stated, **built)
    typer.echo(f"images: {merged.preprocessing}", err=True)
    words = f"{flags['model']} with the weights of {file}"
    if not merged.told:
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
        method = flags.get("method", "refocus")
        words += f", which do not say how their kernels were made; assumed: {method} with {said}"
    return merged.model, words
