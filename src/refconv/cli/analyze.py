"""``refconv analyze``: what changed between two models, in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import REFERENCE, option
from refconv.cli.outputs import check_folder


@with_recipe_flags(PREPROCESSING)
def analyze(
    flags: Mapping[str, Any],
    before: Annotated[str, option("A", REFERENCE)],
    after: Annotated[str, option("B", "the same; the model that it became")],
    out: Annotated[Path | None, option("FOLDER", "write a JSON record per measure, for report", "--out", "-o")] = None,
    only: options.Only = None,
    include: Annotated[list[str] | None, option("PATTERN", "only layers that match")] = None,
    exclude: Annotated[list[str] | None, option("PATTERN", "no layer that matches")] = None,
    model: options.Like = None,
    pretrained: options.Pretrained = True,
    data: Annotated[str | None, option("DATA", "also measure on this data: classifiers only")] = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    samples: options.Samples = None,
    seconds: Annotated[float | None, option("S", "approximate time limit of a measure with data")] = None,
    device: options.Device = None,
    as_json: Annotated[bool, options.switch("--json", "print records and verdicts as JSON")] = False,
) -> None:
    """Measure what changed between two models: redundancy, skeletons, filters, movement, relations of kernels.

    With --data also which samples changed sides, calibration, the landscape of the loss and its curvature, and accuracy
    under attacks, corruptions and shifts. Refocused models count as the plain ones they merge to, a bare name as the
    model with its pretrained weights. Weights take seconds,
    data minutes, or up to --seconds. docs/analysis.md explains each number; refconv report makes a page of
    what --out wrote.
    """
    from refconv.analysis.analysing import AnalysisConfig, Display, analyse, open_couple
    from refconv.measures.pairs import ModelPair
    from refconv.measures.verdicts import judgements

    if out is not None:
        check_folder(out)
    patterns: dict[str, Any] = {
        "only": tuple(only or ()),
        "include": tuple(include or ()),
        "exclude": tuple(exclude or ()),
    }
    evidence: dict[str, Any] = {"data": data, "data_dir": data_dir, "class_map": class_map, "split": split}
    questions = AnalysisConfig(**patterns, **evidence, samples=samples, seconds=seconds, device=device)
    couple = open_couple(before, after, model=model, pretrained=pretrained, flags=flags)
    analysis = analyse(couple, questions, display=Display())
    if as_json:
        records = {name: record.to_dict() for name, record in analysis.records.items()}
        pair = ModelPair(analysis.facts.after.method or "after", analysis.facts, analysis.records)
        verdicts = {name: found.to_dict() for name, found in judgements([pair]).items()}
        typer.echo(json.dumps({**records, "verdicts": verdicts}, ensure_ascii=False))
    else:
        typer.echo("\n\n".join(f"{name}\n\n{record}" for name, record in analysis.records.items()))
    for name, reason in analysis.facts.left_out.items():
        typer.echo(f"{name} left out: {reason}", err=True)
    if out is not None:
        analysis.write(out)
