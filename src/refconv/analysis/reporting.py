"""From finished runs to their analyses, each against what its run started from: reused where they hold, else made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refconv.analysis.analysing import Display, ModelPair, analyse, open_couple
from refconv.analysis.evidence import AnalysisConfig
from refconv.analysis.keeping import Analysis
from refconv.analysis.reportable import ANALYSIS_FOLDER
from refconv.errors import DataError, RunError
from refconv.measures.facts import PairFacts
from refconv.models.opening import Opened
from refconv.models.run_folder import RunFolder, held
from refconv.recipe.recipe import Recipe


@dataclass(frozen=True)
class _Start:
    """What a run is compared with: what it started from, or what the user ``named`` in its place.

    ``pretrained``: whether the reference is a model's name and its weights are meant.
    """

    run: Path
    recipe: Recipe
    reference: str
    pretrained: bool
    named: bool = False


def analyses_of(
    runs: Sequence[Path],
    questions: AnalysisConfig,
    *,
    before: str | None = None,
    weights: bool = False,
    again: bool = False,
    flags: Mapping[str, Any] | None = None,
    display: Callable[[str], Display] = lambda title: Display(show=False),
) -> list[str | None]:
    """Analyse finished runs against what they started from, in RUN/analysis; return why one has no measures with data.

    Measures with data are taken on the data of each run, unless the questions name others. Where the base knows none of
    the run's classes, or the run's own data cannot be had, there are none.

    ``before`` is the base of all runs, by default the recipe's checkpoint or its pretrained model. ``weights``: measure
    weights only. ``again``: take no record from an earlier analysis. ``flags``: what the user says about the input.
    ``display`` makes what shows the progress of the run of a name.
    """
    starts = [_start(run, before) for run in runs]
    _check_one_base(starts)
    found: list[str | None] = []
    beside: PairFacts | None = None
    how: dict[str, Any] = {"weights": weights, "again": again, "flags": flags, "display": display}
    for start in starts:
        place = start.run / ANALYSIS_FOLDER
        with held(place, "analysis folder", force=True):
            analysis, missing = _analysed(start, questions, beside, **how)
        beside = beside or analysis.facts
        found.append(missing)
    return found


def _analysed(
    start: _Start,
    questions: AnalysisConfig,
    beside: PairFacts | None,
    *,
    weights: bool,
    again: bool,
    flags: Mapping[str, Any] | None,
    display: Callable[[str], Display],
) -> tuple[Analysis, str | None]:
    """Analyse with data if there are any; return why there are none where they were wanted."""
    couple = open_couple(start.reference, str(start.run), pretrained=start.pretrained, flags=flags)
    recipe = start.recipe

    def taken(asked: AnalysisConfig, missing: str | None = None) -> Analysis:
        where: dict[str, Any] = {"display": display(start.run.resolve().name), "keep": start.run / ANALYSIS_FOLDER}
        return analyse(couple, asked, **where, again=again, beside=beside, missing=missing)

    missing = None if weights else _no_data(couple, None if start.named else recipe)
    if not weights and missing is None:
        own = replace(questions, data=recipe.data, data_dir=questions.data_dir or recipe.data_dir)
        try:
            return taken(questions if questions.data is not None else own), None
        except DataError as error:
            if questions.data is not None:
                raise
            missing = str(error)
    return taken(replace(questions, data=None, data_dir=None), missing), missing


def _start(run: Path, before: str | None) -> _Start:
    recipe = RunFolder(run).recipe()
    if before is not None:
        return _Start(run, recipe, before, pretrained=True, named=True)
    if recipe.checkpoint is not None:
        if not Path(recipe.checkpoint.removeprefix("local-dir:")).exists():
            problem, remedy = "the model that the run started from is not there", "name it by --before"
            raise RunError(problem, where=str(run), expected=recipe.checkpoint, remedy=remedy)
        return _Start(run, recipe, recipe.checkpoint, pretrained=False)
    if recipe.pretrained:
        return _Start(run, recipe, recipe.model, pretrained=True)
    problem = "the run was trained from scratch, so there is no model before it"
    raise RunError(problem, where=str(run), remedy="name the one to compare with by --before")


def _check_one_base(starts: Sequence[_Start]) -> None:
    """Check before anything is measured that all runs started from the same weights."""
    places = [Path(start.reference) for start in starts]
    names = (place.resolve() if place.exists() else place for place in places)
    if len({(name, start.recipe.model) for name, start in zip(names, starts, strict=True)}) == 1:
        return
    couples = (open_couple(start.reference, str(start.run), pretrained=start.pretrained) for start in starts)
    prints = [couple.before.fingerprint for couple in couples]
    for other, found in zip(starts, prints, strict=True):
        if found != prints[0]:
            problem, expected = "the runs started from different models", f"{starts[0].reference}, as {starts[0].run}"
            remedy, where = "write a report for each start", str(other.run)
            raise RunError(problem, where=where, expected=expected, found=other.reference, remedy=remedy)


def _no_data(couple: ModelPair, recipe: Recipe | None) -> str | None:
    """Return why this pair has no measures with data, None if it can have; recipe: of the run's own start."""
    classes = [_classes(side) for side in couple.opened]
    known = getattr(couple.opened[0].model, "pretrained_cfg", None) or {}
    anew = recipe is not None and (
        recipe.reset_classifier or (recipe.pretrained and known.get("num_classes") != classes[0])
    )
    if anew:
        return "the run started its classifier anew, so the model before it knows none of these classes"
    if None not in classes and classes[0] != classes[1]:
        return f"the model before has {classes[0]} classes, and the one after {classes[1]}"
    return None


def _classes(side: Opened) -> int | None:
    number = side.arguments.get("num_classes") or getattr(side.model, "num_classes", None)
    return int(number) if number else None
