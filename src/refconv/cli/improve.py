"""``refconv improve``: from a trained network to a better one, certified and ready to ship."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli.flags import with_recipe_flags
from refconv.cli.options import option, switch
from refconv.cli.outputs import FAILED, draw_table
from refconv.errors import SettingError
from refconv.recipe.recipe import Recipe

if TYPE_CHECKING:
    from refconv.improvement import ImproveRecord

_DECIDED = frozenset((
    "method", "method_kwargs", "budget", "map_size", "order", "start", "gram_scale", "power", "rounds", "space",
    "decay", "train", "kernel_lr_scale", "epochs", "epoch_steps", "model_ema", "model_ema_decay", "model_ema_warmup",
    "distill", "distill_checkpoint", "distill_alpha", "distill_temperature", "test", "snapshots", "tensorboard",
    "eval_interval",
))  # fmt: skip
"""Settings of a recipe that the search decides."""

_NAMES = [name for name in Recipe.__dataclass_fields__ if name not in _DECIDED]


@with_recipe_flags(_NAMES)
def improve(
    flags: Mapping[str, Any],
    out: Annotated[Path, option("FOLDER", "folder of the result and of all runs", "--out", "-o")],
    budget: Annotated[str, option("AMOUNT", "of all training together: 40ep, 2h, 90min or '400k samples'")],
    contenders: Annotated[
        list[str] | None, option("PATTERN", "only these ways to train, such as 'plain'", "--contender")
    ] = None,
    teacher: Annotated[str | None, option("MODEL", "also distil from this model; base: the network as it is")] = None,
    jobs: Annotated[int | None, option("N", "runs at a time; default: GPUs, or 1", min=1)] = None,
    threads: Annotated[int | None, option("N", "threads of each run on a CPU", min=1)] = None,
    dry_run: Annotated[bool, switch("--dry-run", "measure the network and show the plan, then stop")] = False,
    no_check: Annotated[bool, switch("--no-check", "also train a network that does no better than guessing")] = False,
    recipe: Annotated[Path | None, option("FILE", "recipe in TOML; flags override it")] = None,
) -> None:
    """Train a trained network further in several ways within one budget, and keep the best result.

    The network is measured, contenders are tried at several learning rates, the weights of the best are averaged where
    that helps, and the validation split decides. The test split is read once, at the end. The result has the structure
    of the network it came from and lies in FOLDER/model, with a report beside it. The same command goes on after an
    interruption.
    """
    from refconv.improvement import Budget, ImproveConfig, improve_recipe

    if recipe is None and not {"model", "data"} <= flags.keys():
        missing = "--data" if "model" in flags else "--model"
        raise SettingError("missing", where=missing, remedy="give it, or a recipe by --recipe FILE")
    common = Recipe.from_toml(recipe, flags) if recipe is not None else Recipe.from_mapping(flags)
    config = ImproveConfig(
        budget=Budget.parse(budget), contenders=tuple(contenders or ()), teacher=teacher, jobs=jobs, threads=threads,
        dry_run=dry_run, check=not no_check,
    )  # fmt: skip
    record = improve_recipe(common, out, config, given=tuple(flags))
    if record is not None:
        tell(record, out)


def tell(record: ImproveRecord, out: Path) -> None:
    """Show what an improvement found and where it is; end with a status of its own if the certificate fails."""
    from refconv.improvement import improving, verdict

    if sys.stdout.isatty():
        draw_table(verdict.result_table(record), record.verdict, right=True)
        typer.echo(f"\n{record.certificate}")
    else:
        typer.echo(f"\n{verdict.markdown(record)}")
    typer.echo(f"\n{out}: model, {improving.REPORT_FILE}, {improving.RECORD_FILE}")
    if not record.certificate.same_structure:
        raise typer.Exit(FAILED)
