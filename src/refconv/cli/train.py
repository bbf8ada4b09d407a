"""``refconv train``: train, or retrain through the kernels, and leave the plain result in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from refconv.cli.flags import with_recipe_flags
from refconv.cli.options import option, switch
from refconv.errors import SettingError
from refconv.models.run_folder import RunFolder
from refconv.recipe.recipe import Recipe


@with_recipe_flags()
def train(
    flags: Mapping[str, Any],
    out: Annotated[Path, option("RUN", "folder of the run, written here", "--out", "-o")],
    recipe: Annotated[Path | None, option("FILE", "recipe in TOML; flags override it")] = None,
    resume: Annotated[bool, switch("--resume", "resume the run in --out; its recipe is the default")] = False,
) -> None:
    """Train a model on images or signals, plainly or with its kernels refocused.

    The run folder gets the recipe, metrics, a resumable checkpoint, a record, and the plain result in RUN/model.
    """
    if recipe is None and resume:
        recipe = RunFolder(out).recipe_to_resume()
        # Other data is not in the folder of the run's data.
        if flags.get("data", known := Recipe.from_toml(recipe).data) != known:
            flags = {"data_dir": None, **flags}
    if recipe is None and not {"model", "data"} <= flags.keys():
        missing = "--data" if "model" in flags else "--model"
        raise SettingError("missing", where=missing, remedy="give it, or a whole recipe by --recipe FILE")
    settings = Recipe.from_toml(recipe, flags) if recipe is not None else Recipe.from_mapping(flags)
    from refconv.engine.loop import train as run

    run(settings, out, resume=resume)
