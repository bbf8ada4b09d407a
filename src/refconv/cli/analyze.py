"""``refconv analyze``: what changed between two models, in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.outputs import check_folder


@with_recipe_flags(PREPROCESSING)
def analyze(
    flags: Mapping[str, Any],
    before: Annotated[
        str,
        typer.Option(
            "--before", metavar="A", help="run folder, checkpoint.pt, model folder, weights file or name of a model"
        ),
    ],
    after: Annotated[str, typer.Option("--after", metavar="B", help="the same; what came of it")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", show_default=False, help="write a JSON record per measure, for report"
        ),
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
        bool,
        typer.Option(
            "--pretrained/--no-pretrained", help="a model's bare name means its pretrained weights, or fresh ones"
        ),
    ] = True,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", show_default=False, help="also measure on this data: classifiers only"),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="FOLDER", show_default=False, help="folder of the data")
    ] = None,
    class_map: Annotated[
        str | None,
        typer.Option("--class-map", metavar="FILE", show_default=False, help="the model's class for each folder"),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="WORD", help="one of train, val, test")] = "test",
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", min=2, show_default=False, help="samples that a measure takes at most"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="S", show_default=False, help="time that a measure with data takes, about"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="TEXT", show_default=False, help="default: the best there is")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print records and verdicts as JSON")] = False,
) -> None:
    """Measure what changed between two models: redundancy, skeletons, filters, movement, relations of kernels.

    With --data also which samples changed sides, calibration, the landscape of the loss and its curvature, and accuracy
    under attacks, corruptions and shifts. Refocused models count as the plain ones they merge to, a bare name as the
    model with its pretrained weights. Weights take seconds,
    data minutes, or as long as --seconds says. What each number means is said in docs/analysis.md; refconv report makes
    a page of what --out wrote.
    """
    from refconv.measures.pairs import Pair
    from refconv.measures.verdicts import judgements
    from refconv.training.analyses.analysing import Questions, analyse, open_couple
    from refconv.training.analyses.measuring import display

    if out is not None:
        check_folder(out)
    questions = Questions(
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
    analysis = analyse(couple, questions, display=display())
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
