"""``refconv data``: making data to run on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.options import optional
from refconv.errors import SettingError


def scenes(
    out: Annotated[
        Path | None,
        optional(
            "--out",
            "-o",
            metavar="FOLDER",
            help="folder to write; default: where --data scenes looks for it, in the user's cache",
        ),
    ] = None,
    train: Annotated[int, typer.Option(metavar="N", help="scenes to train on")] = 2000,
    val: Annotated[int, typer.Option(metavar="N", help="scenes to validate on")] = 250,
    test: Annotated[int, typer.Option(metavar="N", help="scenes to test on")] = 500,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="height and width of a scene")] = 128,
    items: Annotated[str, typer.Option(metavar="LOW..HIGH", help="how many items a scene is composed of")] = "1..6",
    seed: Annotated[int, typer.Option(metavar="S", help="seed of everything random")] = 0,
    source: Annotated[str, typer.Option(help="what the items are: fashion-mnist or digits")] = "fashion-mnist",
    data_dir: Annotated[
        str | None, optional("--data-dir", metavar="FOLDER", help="folder of the source's files")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing folder of scenes")] = False,
) -> None:
    """Compose scenes of several items on textured backgrounds, with exact labels of every pixel.

    Written at once as COCO json, as semantic masks and in Pascal VOC's layout; train, val and test share no item.

    Raises:
        SettingError: if a setting is impossible.
        DataError: if the folder exists, or the source of the items cannot be opened.
    """
    counts = _range(items)
    from refconv.data.scenes import default_folder, make_scenes

    out = out or default_folder()
    record = make_scenes(
        out,
        train=train,
        val=val,
        test=test,
        size=size,
        items=counts,
        seed=seed,
        source=source,
        root=data_dir,
        force=force,
        show=True,
    )
    typer.echo(f"{out}: {record}")


def _range(text: str) -> tuple[int, int]:
    """Read ``1..6`` or ``3``.

    Raises:
        SettingError: if it is neither.
    """
    match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text.strip())
    if match is None:
        raise SettingError("no range", where="--items", expected="LOW..HIGH, such as 1..6", found=repr(text))
    low, high = match.group(1), match.group(2) or match.group(1)
    return int(low), int(high)
