"""``refconv report``: finished runs, or analyses, as one page that a person wants to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.flags import PREPROCESSING, flag, with_recipe_flags
from refconv.cli.options import option, switch
from refconv.cli.outputs import check_file
from refconv.errors import RunError, SettingError

if TYPE_CHECKING:
    from refconv.report import ModelPair

PAGE = "report.html"
_RUNS = "folders of runs with one base, or of analyses (analyze --out)"


@with_recipe_flags(PREPROCESSING)
def report(
    flags: Mapping[str, Any],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help=_RUNS)],
    out: Annotated[
        Path | None, option("FILE", "the page; default: report.html, in a single RUN", "--out", "-o")
    ] = None,
    before: Annotated[str | None, option("BASE", "model before; default: what the run started from")] = None,
    data: options.DataName = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    samples: options.Samples = None,
    seconds: Annotated[float, option("S", "approximate time limit of a measure with data")] = 30,
    only: options.Only = None,
    title: Annotated[str | None, option("TEXT", "title of the page")] = None,
    weights: Annotated[bool, switch("--weights", "measure weights only, without data")] = False,
    again: Annotated[bool, switch("--again", "repeat measurements that are there already")] = False,
    device: options.Device = None,
) -> None:
    """Show what changed between a base and the runs that came of it, on one page without a network.

    Each run is measured against its base, and the records are kept in RUN/analysis for the next time. Several runs of
    one base, such as plain and refocus, stand side by side. docs/analysis.md explains the page.
    """
    from refconv.analysis.reportable import holds_analysis, pair_names
    from refconv.report import read_pair, write_report

    places = [run.resolve() for run in runs]
    if twice := [run for place, run in zip(places, runs, strict=True) if places.count(place) > 1]:
        raise RunError("named more than once", where=str(twice[-1]), expected="every run once")
    page = out or (runs[0] / PAGE if len(runs) == 1 else Path(PAGE))
    check_file(page)
    unmade = [folder for folder in runs if not holds_analysis(folder)]
    asked = {"data": data, "data_dir": data_dir, "class_map": class_map, "samples": samples, "device": device}
    how: dict[str, Any] = {"before": before, "weights": weights, "again": again}
    made: dict[Path, Path] = {}
    if unmade:
        if weights and data is not None:
            raise SettingError("cannot be combined with --data", where="--weights")
        questions = {**asked, "split": split, "seconds": seconds, "only": tuple(only or ())}
        made = _analyses(unmade, questions, flags=flags, **how)
    elif given := [name for name, value in {**asked, **how, **flags}.items() if value]:
        remedy = "name runs, or analyse again by refconv analyze --out"
        raise SettingError("has no effect on analyses that are there", where=flag(given[0]), remedy=remedy)
    pairs = [_chosen(read_pair(made.get(folder, folder)), only) for folder in runs]
    names = pair_names([pair.facts for pair in pairs], runs)
    pairs = [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]
    typer.echo(str(write_report(pairs, page, title=title)))


def _analyses(runs: list[Path], questions: Mapping[str, Any], **how: Any) -> dict[Path, Path]:
    """Analyse runs; return where their analyses are."""
    from refconv.analysis.analysing import AnalysisConfig, Display
    from refconv.analysis.reporting import analyses_of

    found = analyses_of(runs, AnalysisConfig(**questions), display=Display, **how)
    for run, one in zip(runs, found, strict=True):
        if one.missing:
            typer.echo(f"{run}: weights only; {one.missing}", err=True)
    return {run: one.folder for run, one in zip(runs, found, strict=True)}


def _chosen(pair: ModelPair, only: list[str] | None) -> ModelPair:
    """Return a pair with the records of some measures alone."""
    if not only:
        return pair
    of_measure = {name: name.removesuffix("-before").removesuffix("-after") for name in pair.records}
    for name in only:
        if name not in of_measure.values() and name not in pair.facts.left_out:
            expected = ", ".join(dict.fromkeys(of_measure.values()))
            raise SettingError("no such measure", where="--only", expected=expected, found=name)
    return replace(pair, records={name: pair.records[name] for name, measure in of_measure.items() if measure in only})
