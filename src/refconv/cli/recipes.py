"""``refconv recipes``: what comes with the package to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.options import Json, switch
from refconv.cli.saying import say
from refconv.errors import RunError
from refconv.models.run_folder import AGAIN, write_whole
from refconv.recipe import shipped
from refconv.records import parsed_toml

_NAME = Annotated[str, typer.Argument(metavar="NAME", help="of a recipe or study, as ls prints it")]


def ls(as_json: Json = False) -> None:
    """List the recipes of `refconv train` and the studies of `refconv compare` that come with the package."""
    rows = [
        (f"{kind}/{name}", shipped.first_line(path))
        for kind in ("recipes", "studies")
        for name, path in shipped.shipped(kind).items()
    ]
    if as_json:
        say(json.dumps([{"name": name, "about": about} for name, about in rows], ensure_ascii=False))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, about in rows:
        say(f"{name:<{width}}  {about}")


def show(name: _NAME, as_json: Json = False) -> None:
    """Print a recipe or study."""
    text = shipped.named(name).read_text(encoding="utf-8")
    say(json.dumps(parsed_toml(text), ensure_ascii=False) + "\n" if as_json else text, nl=False)


def cp(
    name: _NAME,
    to: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="where to")] = Path(),
    force: Annotated[bool, switch("--force", "replace an existing file")] = False,
    as_json: Json = False,
) -> None:
    """Copy a recipe or study, to change it."""
    source = shipped.named(name)
    target = to / source.name if to.is_dir() else to
    if target.exists() and not force:
        raise RunError("exists already", where=str(target), remedy="give another name, or --force to replace it")
    if not target.parent.is_dir():
        raise RunError("is no folder", where=str(target.parent), remedy="make it first, or give another place")
    write_whole(target, source.read_bytes(), then=AGAIN)
    say(json.dumps({"file": str(target)}) if as_json else str(target))
