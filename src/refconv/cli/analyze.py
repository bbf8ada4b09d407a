"""``refconv analyze``: what changed between two models, in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import (
    REFERENCE,
    ClassMapFile,
    DataFolder,
    Device,
    Like,
    Only,
    Pretrained,
    Samples,
    SplitName,
    optional,
)
from refconv.cli.outputs import check_folder


@with_recipe_flags(PREPROCESSING)
def analyze(
    flags: Mapping[str, Any],
    before: Annotated[str, typer.Option("--before", metavar="A", help=REFERENCE)],
    after: Annotated[str, typer.Option("--after", metavar="B", help="the same; the model that it became")],
    out: Annotated[
        Path | None, optional("--out", "-o", metavar="FOLDER", help="write a JSON record per measure, for report")
    ] = None,
    only: Only = None,
    include: Annotated[
        list[str] | None, optional("--include", metavar="PATTERN", help="only layers that match")
    ] = None,
    exclude: Annotated[list[str] | None, optional("--exclude", metavar="PATTERN", help="no layer that matches")] = None,
    model: Like = None,
    pretrained: Pretrained = True,
    data: Annotated[
        str | None, optional("--data", metavar="DATA", help="also measure on this data: classifiers only")
    ] = None,
    data_dir: DataFolder = None,
    class_map: ClassMapFile = None,
    split: SplitName = "test",
    samples: Samples = None,
    seconds: Annotated[
        float | None, optional("--seconds", metavar="S", help="approximate time limit of a measure with data")
    ] = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="print records and verdicts as JSON")] = False,
) -> None:
    """Measure what changed between two models: redundancy, skeletons, filters, movement, relations of kernels.

    With --data also which samples changed sides, calibration, the landscape of the loss and its curvature, and accuracy
    under attacks, corruptions and shifts. Refocused models count as the plain ones they merge to, a bare name as the
    model with its pretrained weights. Weights take seconds,
    data minutes, or up to --seconds. docs/analysis.md explains each number; refconv report makes a page of
    what --out wrote.
    """
    from refconv.analysis.analysing import AnalysisConfig, Display, analyse, open_couple
    from refconv.measures.pairs import Pair
    from refconv.measures.verdicts import judgements

    if out is not None:
        check_folder(out)
    questions = AnalysisConfig(
        only=tuple(only or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        data=data,
        data_dir=data_dir,
        class_map=class_map,
        split=split,
        samples=samples,
        seconds=seconds,
        device=device,
    )
    couple = open_couple(before, after, model=model, pretrained=pretrained, flags=flags)
    analysis = analyse(couple, questions, display=Display())
    if as_json:
        records = {name: record.to_dict() for name, record in analysis.records.items()}
        pair = Pair(analysis.facts.after.method or "after", analysis.facts.to_dict(), analysis.records)
        verdicts = {name: found.to_dict() for name, found in judgements([pair]).items()}
        typer.echo(json.dumps({**records, "verdicts": verdicts}, ensure_ascii=False))
    else:
        typer.echo("\n\n".join(f"{name}\n\n{record}" for name, record in analysis.records.items()))
    for name, reason in analysis.facts.left_out.items():
        typer.echo(f"{name} left out: {reason}", err=True)
    if out is not None:
        analysis.write(out)
