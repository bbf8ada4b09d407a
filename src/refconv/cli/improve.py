"""``refconv improve``: from a trained network to a better one, certified and ready to ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.flags import with_recipe_flags
from refconv.cli.options import optional
from refconv.cli.status import FAILED
from refconv.errors import SettingError
from refconv.recipe.recipe import Recipe

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
    out: Annotated[Path, optional("--out", "-o", metavar="FOLDER", help="folder of the result and of all runs")],
    budget: Annotated[
        str, optional("--budget", metavar="AMOUNT", help="of all training together: 40ep, 2h, 90min or '400k samples'")
    ],
    contenders: Annotated[
        list[str] | None, optional("--contender", metavar="PATTERN", help="only these ways to train, such as 'plain'")
    ] = None,
    teacher: Annotated[
        str | None,
        optional("--teacher", metavar="MODEL", help="also distil from this model; base: the network as it is"),
    ] = None,
    jobs: Annotated[
        int | None, optional("--jobs", metavar="N", min=1, help="runs at a time; default: GPUs, or 1")
    ] = None,
    threads: Annotated[
        int | None, optional("--threads", metavar="N", min=1, help="threads of each run on a CPU")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="measure the network and show the plan, then stop")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="refuse a network that does no better than guessing")
    ] = True,
    recipe: Annotated[
        Path | None, optional("--recipe", metavar="FILE", help="recipe in TOML; flags override it")
    ] = None,
) -> None:
    """Train a trained network further in several ways within one budget, and keep the best result.

    The network is measured, contenders are tried at several learning rates, the weights of the best are averaged where
    that helps, and the validation split decides. The test split is read once, at the end. The result has the structure
    of the network it came from and lies in FOLDER/model, with a report beside it. The same command goes on after an
    interruption.

    Raises:
        SettingError: if model and data are not named.
        Exit: if the certificate does not hold.
    """
    from refconv.improvement import Budget, ImproveConfig, improve_recipe

    if recipe is None and not {"model", "data"} <= flags.keys():
        missing = "--data" if "model" in flags else "--model"
        raise SettingError("missing", where=missing, remedy="give it, or a recipe by --recipe FILE")
    common = Recipe.from_toml(recipe, flags) if recipe is not None else Recipe.from_mapping(flags)
    config = ImproveConfig(
        budget=Budget.parse(budget), contenders=tuple(contenders or ()), teacher=teacher, jobs=jobs, threads=threads,
        dry_run=dry_run, check=check,
    )  # fmt: skip
    record = improve_recipe(common, out, config, given=tuple(flags))
    if record is not None and not record.certificate.same_structure:
        raise typer.Exit(FAILED)
