"""``refconv data``: making data to run on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.options import option, switch
from refconv.errors import SettingError

_OUT = "folder to write; default: where --data scenes looks for it, in the user's cache"


def scenes(
    out: Annotated[Path | None, option("FOLDER", _OUT, "--out", "-o")] = None,
    train: Annotated[int, option("N", "scenes to train on")] = 2000,
    val: Annotated[int, option("N", "scenes to validate on")] = 250,
    test: Annotated[int, option("N", "scenes to test on")] = 500,
    size: Annotated[int, option("PIXELS", "height and width of a scene")] = 128,
    items: Annotated[str, option("LOW..HIGH", "how many items a scene is composed of")] = "1..6",
    seed: Annotated[int, option("S", "seed of everything random")] = 0,
    source: Annotated[str, typer.Option(help="what the items are: fashion-mnist or digits")] = "fashion-mnist",
    data_dir: Annotated[str | None, option("FOLDER", "folder of the source's files")] = None,
    force: Annotated[bool, switch("--force", "replace an existing folder of scenes")] = False,
) -> None:
    """Compose scenes of several items on textured backgrounds, with exact labels of every pixel.

    Written at once as COCO json, as semantic masks and in Pascal VOC's layout; train, val and test share no item.
    """
    counts = _range(items)
    from refconv.data.scenes import default_folder, make_scenes

    out = out or default_folder()
    scenes: dict[str, Any] = {"train": train, "val": val, "test": test, "size": size, "items": counts}
    record = make_scenes(out, **scenes, seed=seed, source=source, root=data_dir, force=force, show=True)
    typer.echo(f"{out}: {record}")


def _range(text: str) -> tuple[int, int]:
    """Read ``1..6`` or ``3``."""
    match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text.strip())
    if match is None:
        raise SettingError("no range", where="--items", expected="LOW..HIGH, such as 1..6", found=repr(text))
    return int(match[1]), int(match[2] or match[1])
