"""``refconv analyze``: what changed between two models, in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from refconv.errors import RunError, SettingError


def analyze(
    before: Annotated[
        str,
        typer.Option(
            "--before", metavar="A", help="run folder, checkpoint.pt, model folder, weights file or name of a model"
        ),
    ],
    after: Annotated[str, typer.Option("--after", metavar="B", help="the same; what came of it")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", show_default=False, help="write a JSON record per measure"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", show_default=False, help="this measure alone; may be given again"),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="PATTERN", show_default=False, help="only layers that match"),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", show_default=False, help="no layer that matches")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", show_default=False, help="the model that weights files belong to"),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="give a model's name its pretrained weights")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the records instead of the tables")] = False,
) -> None:
    """Measure what changed between two models' weights: redundancy, skeletons, filters, movement, relations.

    Refocused models count as the plain ones they merge to. It takes seconds and needs no data. What each number means
    is said in docs/analysis.md.

    Raises:
        SettingError: if there is no such measure.
        RunError: if the records cannot be written.
    """
    from refconv.analysis.registry import WEIGHT_MEASURES
    from refconv.surgery import merge
    from refconv.surgery.attach import transformed
    from refconv.training.opening import open_pair

    for name in only or ():
        if name not in WEIGHT_MEASURES:
            raise SettingError("no such measure", where="--only", expected=", ".join(WEIGHT_MEASURES), found=name)
    first, second = (side.model for side in open_pair(before, after, model=model, pretrained=pretrained))
    for side in (first, second):
        if any(True for _ in transformed(side)):
            merge(side)
    records = {
        name: measure(first, second, include=include or None, exclude=exclude or None)
        for name, measure in WEIGHT_MEASURES.items()
        if not only or name in only
    }
    if as_json:
        typer.echo(json.dumps({name: record.to_dict() for name, record in records.items()}, ensure_ascii=False))
    else:
        typer.echo("\n\n".join(f"{name}\n\n{record}" for name, record in records.items()))
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, record in records.items():
                record.write(out / f"{name}.json")
        except OSError as error:
            raise RunError("cannot write the records", where=str(out), found=str(error)) from error
