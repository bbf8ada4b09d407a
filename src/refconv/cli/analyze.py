"""``refconv analyze``: what changed between two models, in numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from refconv.errors import RunError, SettingError
from refconv.records import Record


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
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", show_default=False, help="also measure on this data: classifiers only"),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="FOLDER", show_default=False, help="folder of the data")
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="WORD", help="one of train, val, test")] = "test",
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", min=2, show_default=False, help="samples that a measure takes at most"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="TEXT", show_default=False, help="default: the best there is")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the records instead of the tables")] = False,
) -> None:
    """Measure what changed between two models: redundancy, skeletons, filters, movement, relations of kernels.

    With --data also which samples changed sides, calibration, the landscape of the loss and its curvature, and accuracy
    under attacks, corruptions and shifts. Refocused models count as the plain ones they merge to. Weights take seconds,
    data minutes. What each number means is said in docs/analysis.md.

    Raises:
        SettingError: if there is no such measure or split.
        RunError: if the records cannot be written.
    """
    from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
    from refconv.surgery import merge
    from refconv.surgery.attach import transformed
    from refconv.training.opening import open_pair

    known = {**WEIGHT_MEASURES, **(DATA_MEASURES if data is not None else {})}
    for name in only or ():
        if name not in known:
            remedy = "give --data" if name in DATA_MEASURES else None
            raise SettingError("no such measure", where="--only", expected=", ".join(known), found=name, remedy=remedy)
    if split not in {"train", "val", "test"}:
        raise SettingError("unknown split", where="--split", expected="train, val or test", found=repr(split))
    opened = open_pair(before, after, model=model, pretrained=pretrained)
    first, second = (side.model for side in opened)
    for side in (first, second):
        if any(True for _ in transformed(side)):
            merge(side)
    records: dict[str, Record] = {
        name: measure(first, second, include=include or None, exclude=exclude or None)
        for name, measure in WEIGHT_MEASURES.items()
        if not only or name in only
    }
    if data is not None:
        from refconv.training.evidence import open_evidence

        chosen = [name for name in DATA_MEASURES if not only or name in only]
        evidence, possible = open_evidence(opened, data, root=data_dir, split=split, samples=samples, device=device)
        for name in (name for name in chosen if name in possible):
            if sys.stderr.isatty():
                typer.echo(f"measuring {name} ...", err=True)
            found = DATA_MEASURES[name](first, second, evidence)
            records.update({name if side == "pair" else f"{name}-{side}": record for side, record in found.items()})
    if as_json:
        typer.echo(json.dumps({name: record.to_dict() for name, record in records.items()}, ensure_ascii=False))
    else:
        typer.echo("\n\n".join(f"{name}\n\n{record}" for name, record in records.items()))
    if out is not None:
        _write(out, records)


def _write(out: Path, records: Mapping[str, Record]) -> None:
    """Write a JSON file for each record.

    Raises:
        RunError: if one cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, record in records.items():
            record.write(out / f"{name}.json")
    except OSError as error:
        raise RunError("cannot write the records", where=str(out), found=str(error)) from error
