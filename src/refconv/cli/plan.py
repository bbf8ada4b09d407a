"""``refconv plan``: what refocusing would do to a model, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from refconv.cli.flags import chosen, flag, with_recipe_flags
from refconv.errors import SettingError

MODEL_FLAGS = (
    "model", "model_kwargs", "pretrained", "checkpoint", "reset_classifier", "num_classes", "in_chans",
)  # fmt: skip
REFOCUS_FLAGS = ("map_size", "order", "start", "normalize", "power", "include", "exclude")


@with_recipe_flags((*MODEL_FLAGS, *REFOCUS_FLAGS))
def plan(
    flags: Mapping[str, Any],
    as_json: Annotated[bool, typer.Option("--json", help="print the record instead of the table")] = False,
) -> None:
    """Show which kernels of a model would be refocused, which not and why, and what it costs while training.

    Raises:
        SettingError: if no model is given.
    """
    if "model" not in flags:
        raise SettingError("missing", where=flag("model"), expected="a timm name, module:function or local-dir:FOLDER")
    from refconv import surgery
    from refconv.training.models import create_model

    arguments = chosen(flags, MODEL_FLAGS)
    model = create_model(arguments.pop("model"), **arguments)
    result = surgery.plan(model, **refocus_settings(flags))
    typer.echo(result.to_json() if as_json else str(result), nl=not as_json)


def refocus_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of :func:`refconv.surgery.refocus` among the flags."""
    settings = chosen(flags, REFOCUS_FLAGS)
    if len(settings.get("map_size", ())) == 1:
        (settings["map_size"],) = settings["map_size"]
    return settings
