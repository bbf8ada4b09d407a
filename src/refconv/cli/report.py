"""``refconv report``: finished runs, or analyses, as one page that a person wants to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli.flags import PREPROCESSING, flag, with_recipe_flags
from refconv.cli.options import ClassMapFile, DataFolder, DataName, Device, Only, Samples, SplitName, optional
from refconv.cli.outputs import check_file
from refconv.errors import RunError, SettingError

if TYPE_CHECKING:
    from refconv.report import Pair

PAGE = "report.html"


@with_recipe_flags(PREPROCESSING)
def report(
    flags: Mapping[str, Any],
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="folders of runs with one base, or of analyses (analyze --out)", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, optional("--out", "-o", metavar="FILE", help="the page; default: report.html, in a single RUN")
    ] = None,
    before: Annotated[
        str | None, optional("--before", metavar="BASE", help="model before; default: what the run started from")
    ] = None,
    data: DataName = None,
    data_dir: DataFolder = None,
    class_map: ClassMapFile = None,
    split: SplitName = "test",
    samples: Samples = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", help="approximate time limit of a measure with data")
    ] = 30,
    only: Only = None,
    title: Annotated[str | None, optional("--title", metavar="TEXT", help="title of the page")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="measure weights only, without data")] = False,
    again: Annotated[bool, typer.Option("--again", help="repeat measurements that are there already")] = False,
    device: Device = None,
) -> None:
    """Show what changed between a base and the runs that came of it, on one page without a network.

    Each run is measured against its base, and the records are kept in RUN/analysis for the next time. Several runs of
    one base, such as plain and refocus, stand side by side. docs/analysis.md explains the page.

    Raises:
        SettingError: if a setting has no effect or there is no such measure.
        RunError: if a run is named twice, or the page cannot be written where it should be.
    """
    from refconv.analysis.reportable import holds_analysis, pair_names
    from refconv.report import read_pair, write_report

    _check_once(runs)
    page = out or (runs[0] / PAGE if len(runs) == 1 else Path(PAGE))
    check_file(page)
    folders = list(runs)
    unmade = [folder for folder in runs if not holds_analysis(folder)]
    asked: dict[str, Any] = {
        "before": before,
        "data": data,
        "data_dir": data_dir,
        "class_map": class_map,
        "samples": samples,
        "device": device,
    }
    if unmade:
        _check_together(weights, data)
        made = _analyses(unmade, flags, again=again, weights=weights, split=split, seconds=seconds, only=only, **asked)
        folders = [made.get(folder, folder) for folder in folders]
    else:
        for name, value in {**asked, "weights": weights, "again": again, **flags}.items():
            if value:
                raise SettingError(
                    "has no effect on analyses that are there",
                    where=flag(name),
                    remedy="name runs, or analyse again by refconv analyze --out",
                )
    pairs = [_chosen(read_pair(folder), only) for folder in folders]
    names = pair_names([pair.facts for pair in pairs], runs)
    pairs = [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]
    typer.echo(str(write_report(pairs, page, title=title)))


def _check_once(runs: list[Path]) -> None:
    places = [run.resolve() for run in runs]
    twice = [run for place, run in zip(places, runs, strict=True) if places.count(place) > 1]
    if twice:
        raise RunError("named more than once", where=str(twice[-1]), expected="every run once")


def _check_together(weights: bool, data: str | None) -> None:
    if weights and data is not None:
        raise SettingError("cannot be combined with --data", where="--weights")


def _analyses(
    runs: list[Path],
    flags: Mapping[str, Any],
    *,
    before: str | None,
    only: list[str] | None,
    weights: bool,
    again: bool,
    **asked: Any,
) -> dict[Path, Path]:
    """Analyse runs; return where their analyses are."""
    from refconv.analysis.analysing import AnalysisConfig, Display
    from refconv.analysis.reporting import analyses_of

    questions = AnalysisConfig(only=tuple(only or ()), **asked)
    found = analyses_of(runs, questions, before=before, weights=weights, again=again, flags=flags, display=Display)
    for run, one in zip(runs, found, strict=True):
        if one.missing:
            typer.echo(f"{run}: weights only; {one.missing}", err=True)
    return {run: one.folder for run, one in zip(runs, found, strict=True)}


def _chosen(pair: Pair, only: list[str] | None) -> Pair:
    """Return a pair with the records of some measures alone.

    Raises:
        SettingError: if it has none of a measure.
    """
    if not only:
        return pair
    of_measure = {name: name.removesuffix("-before").removesuffix("-after") for name in pair.records}
    left_out = pair.facts.get("left_out") or {}
    for name in only:
        if name not in of_measure.values() and name not in left_out:
            expected = ", ".join(dict.fromkeys(of_measure.values()))
            raise SettingError("no such measure", where="--only", expected=expected, found=name)
    return replace(pair, records={name: pair.records[name] for name, measure in of_measure.items() if measure in only})
