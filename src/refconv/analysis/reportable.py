"""What a report can be made of: folders of finished runs, and folders that an analysis left.

Imports nothing heavy: where the analyses are there, a report needs neither torch nor the models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from refconv.errors import RunError
from refconv.measures.facts import FACTS_FILE, PairFacts, SideFacts
from refconv.models.metadata import IMPROVED
from refconv.models.run_folder import RunFolder

ANALYSIS_FOLDER = "analysis"  #: Where the analysis of a run lies, inside the run
_DEPTH = 4  # of the folders in which runs are looked for, so that a remedy can name one: improve has the deepest
_PAGE = "report.html"  # in the folder of an improvement


def holds_analysis(folder: Path) -> bool:
    """Return whether a folder holds an analysis; if not, it holds a finished run, or is refused."""
    if not folder.is_dir():
        raise RunError("no such folder", where=str(folder), expected="a run, or what refconv analyze --out wrote")
    if (folder / FACTS_FILE).is_file():
        return True
    run = RunFolder(folder)
    if run.record_file.is_file() and run.recipe_file.is_file():
        return False
    if run.is_run:
        raise _incomplete(run)
    raise _no_run(folder, run.record_file.name)


def _no_run(folder: Path, record: str) -> RunError:
    """Return the error for a folder that is neither a run nor an analysis; the remedy follows from what is in it."""
    depths = ("/".join(["*"] * depth + [record]) for depth in range(1, _DEPTH + 1))
    inside = next((min(found).parent for depth in depths if (found := [*folder.glob(depth)])), None)
    remedy = None if inside is None else f"name runs in it, such as {inside}"
    if (folder / IMPROVED).is_file() and (folder / _PAGE).is_file():
        page = f"its page is there already: {folder / _PAGE}"
        return RunError("an improvement", where=str(folder), remedy="; ".join(filter(None, (page, remedy))))
    if remedy is not None:
        return RunError("a folder of runs", where=str(folder), remedy=remedy)
    expected, remedy = f"{record} or {FACTS_FILE}", "name the folder that train, or analyze --out, wrote"
    if (folder / "config.json").is_file():
        remedy = f"a model to compare runs with is given by --before {folder}, two models by refconv analyze"
    return RunError("neither a run nor an analysis", where=str(folder), expected=expected, remedy=remedy)


def _incomplete(run: RunFolder) -> RunError:
    """Return the error for a run that lacks its record or its recipe; resuming from its checkpoint writes either."""
    lost = run.record_file if run.recipe_file.is_file() else run.recipe_file
    finished = run.record_file.is_file() or run.model_folder.is_dir()  # the model is written before the record
    what = f"training has finished, but its {lost.name} is missing" if finished else "the run has not finished"
    expected = f"a file {lost.name}"
    remedy = run.to_finish()
    if lost == run.recipe_file and run.checkpoint_file.is_file():
        remedy = "the command that trained the run writes it again, with --resume"
    return RunError(what, where=str(run.path), expected=expected, remedy=remedy)


def pair_names(facts: Sequence[PairFacts], folders: Sequence[Path]) -> list[str]:
    """Return what readers call each pair: its method and settings, with as much more as tells it from the others.

    Settings are those of the run's recipe that are not the default, as in ``refocus, paper scale``.

    Example:
        >>> base = SideFacts("base")
        >>> facts = [PairFacts(base, SideFacts(method, method)) for method in ("plain", "refocus", "refocus")]
        >>> pair_names(facts, [Path("a"), Path("b"), Path("c")])
        ['plain', 'refocus, b', 'refocus, c']
    """
    sides = [pair.after for pair in facts]
    names = [
        ", ".join([side.method or folder.resolve().name, *_settings(side, folder)])
        for side, folder in zip(sides, folders, strict=True)
    ]
    more: list[list[str | None]] = [
        [side.space and f"{side.space} space" for side in sides],
        [f"seed {side.run['seed']}" if side.run else None for side in sides],
        [folder.resolve().name for folder in folders],
    ]
    for words in more:
        names = _told_apart(names, words)
    return names


def _settings(side: SideFacts, folder: Path) -> list[str]:
    """Return the settings of refocusing that differ from the defaults, where the recipe of the run is at hand."""
    runs = [RunFolder(place) for place in (folder, Path(side.reference or folder))]
    run = next((run for run in runs if run.recipe_file.is_file()), None)
    if run is None or side.method != "refocus":
        return []
    recipe = run.recipe()
    usual = {field.name: field.default for field in fields(recipe)}
    said = (
        f"{recipe.gram_scale} scale",
        f"power {recipe.power:g}",
        f"order {recipe.order}",
        f"damping {recipe.damping:g}",
    )
    names = ("gram_scale", "power", "order", "damping")
    return [words for name, words in zip(names, said, strict=True) if getattr(recipe, name) != usual[name]]


def _told_apart(names: Sequence[str], words: Sequence[str | None]) -> list[str]:
    """Add words to names that occur several times, where the words of one name differ."""
    found = []
    for name, word in zip(names, words, strict=True):
        alike = {other for twin, other in zip(names, words, strict=True) if twin == name}
        told = Counter(names)[name] > 1 and len(alike) > 1 and word
        found.append(f"{name}, {word}" if told else name)
    return found
