"""``refconv plan``: what refocusing, or another transformation of kernels, would do to a model, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from refconv.cli.flags import chosen, flag, with_recipe_flags
from refconv.cli.options import Json, option
from refconv.config import FIELDS
from refconv.errors import SettingError
from refconv.records import Record

_MODEL = (
    "model", "model_kwargs", "pretrained", "checkpoint", "reset_classifier", "num_classes", "in_chans", "backbone",
)  # fmt: skip
_BUDGET = "instead, show which size of the method trains closest to N parameters"


@with_recipe_flags((*_MODEL, "method", "method_kwargs", *FIELDS.values()))
def plan(
    flags: Mapping[str, Any], as_json: Json = False, budget: Annotated[int | None, option("N", _BUDGET, min=1)] = None
) -> None:
    """Show which kernels of a model would be refocused, which not and why, and what it costs while training.

    With --method, the same for another transformation of kernels.
    """
    if "model" not in flags:
        raise SettingError("missing", where=flag("model"), expected="a timm name, module:function or local-dir:FOLDER")
    from refconv import surgery
    from refconv.models.creation import create_model

    arguments = chosen(flags, _MODEL)
    if "backbone" in arguments:
        arguments["model_kwargs"] = {"backbone": arguments.pop("backbone"), **arguments.get("model_kwargs", {})}
    model = create_model(arguments.pop("model"), **arguments)
    name, settings = flags.get("method", "refocus"), method_settings(flags)
    found: Record
    if budget is None:
        found = surgery.plan_of(model, name, **settings)
    else:
        found = surgery.fit_budget(model, name, budget, **settings)
    typer.echo(found.to_json() if as_json else str(found), nl=not as_json)


def method_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is for :func:`refconv.surgery.reparametrize` among the flags that are fields of the recipe."""
    settings = {name: flags[field] for name, field in FIELDS.items() if field in flags}
    if len(settings.get("map_size", ())) == 1:
        (settings["map_size"],) = settings["map_size"]
    return {**flags.get("method_kwargs", {}), **settings}
