"""Writing a report: pairs of models from the folders of their analyses, one HTML file out that keeps a size limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refconv.errors import RunError, in_one_line, said_by
from refconv.measures.facts import FACTS_FILE, PairFacts
from refconv.measures.judging import Judgement
from refconv.measures.numbers import count
from refconv.measures.pairs import ANALYSE_AGAIN, RECORDS, ModelPair, measure_of, read_json, read_record
from refconv.measures.verdicts import NOTE, weighed
from refconv.paths import path_of
from refconv.process.shortage import remedy_for
from refconv.records import content_of
from refconv.report import page, verdict
from refconv.report.elements import Figure, Section
from refconv.report.provenance import provenance
from refconv.report.sections import SECTIONS

MOST = 6  # pairs that have a colour of their own
LIMIT = 5_000_000  # bytes that a page may have
_CONTRADICTION = (ArithmeticError, LookupError, ValueError)  # what drawing raises for such numbers; others are bugs
_MARK, _HEAD = b"content=\"default-src 'none'; img-src data:", 500  # is in that many first bytes of every report
_FEWEST = 3  # options of a choice that are always kept
Draws = Callable[[Sequence[ModelPair]], Section | None]
"""A section of the page, made of the pairs' records; None if no pair has them."""


def read_pair(folder: Path | str, name: str | None = None) -> ModelPair:
    """Read what an analysis left in a folder: ``pair.json`` and a JSON file per record.

    Args:
        folder: the folder.
        name: what the pair is called; by default the method of the second model's run, else the folder's name.

    Raises:
        RunError: if there is no analysis in the folder, or a file is damaged.
    """
    place = path_of(folder)
    file = place / FACTS_FILE
    if not file.is_file():
        remedy = "refconv analyze --out FOLDER makes one"
        raise RunError("no analysis", where=str(place), expected=f"a file {FACTS_FILE}", remedy=remedy)
    facts: PairFacts = read_json(PairFacts, _read(file), str(file))
    order = list(RECORDS)
    files = [path for path in sorted(place.glob("*.json")) if measure_of(path.stem) in RECORDS]
    files.sort(key=lambda path: order.index(measure_of(path.stem)))
    records = {path.stem: read_record(path.stem, _read(path), str(path)) for path in files}
    return ModelPair(name or facts.after.method or place.name, facts, records)


def _read(path: Path) -> Any:
    try:
        return content_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = said_by(error)
        raise RunError("cannot read a record", where=str(path), found=found, remedy=ANALYSE_AGAIN) from error


def numbered(pairs: Sequence[ModelPair]) -> list[ModelPair]:
    """Return pairs with names of their own: of several with one name, the second and later ones get a number."""
    found: dict[str, ModelPair] = {}
    for pair in pairs:
        name, number = pair.name, 1
        while name in found:
            number += 1
            name = f"{pair.name} {number}"
        found[name] = replace(pair, name=name)
    return list(found.values())


def check(pairs: Sequence[ModelPair]) -> None:
    """Make sure that pairs can stand on one page: not none or too many, of one architecture, task and start."""
    if not 1 <= len(pairs) <= MOST:
        raise RunError("cannot report on these pairs", where="report", expected=f"1 to {MOST}", found=f"{len(pairs)}")
    for pair in pairs[1:]:
        both = pairs[0].facts, pair.facts
        models, tasks, starts = zip(*((one.model, one.task, one.before.fingerprint) for one in both), strict=True)
        named = [f"{one.before.reference} (weights {one.before.fingerprint[:12]})" for one in both]
        for what, found, words in (("architecture", models, models), ("task", tasks, tasks), ("start", starts, named)):
            if found[0] != found[1]:
                problem = f"another {what} than {pairs[0].name}"
                remedy = "pairs on one page share their first model; write one report each"
                raise RunError(problem, where=pair.name, expected=words[0], found=words[1], remedy=remedy)


@dataclass(frozen=True)
class Report:
    """What was written."""

    path: Path  #: the file
    size: int  #: its bytes
    sections: tuple[str, ...]  #: the names of the measures on it
    headlines: tuple[tuple[str, str], ...]  #: per pair, its name and what came of it in a line

    def __str__(self) -> str:
        lines = [f"{name}: {headline}" for name, headline in self.headlines]
        return "\n".join([*lines, f"{self.path}: {count(len(self.sections), 'measure')}, {self.size / 1e6:.2f} MB"])


def check_page_place(path: Path) -> None:
    """Check that a page can be written to a path: nothing is there, or an earlier report.

    Raises:
        RunError: if another file is there.
    """
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if _MARK not in file.read(_HEAD):
                raise RunError("holds something other than a report", where=str(path), remedy="give another file")


def write_report(
    pairs: Sequence[ModelPair], path: Path | str, *, title: str | None = None, sections: Sequence[Draws] | None = None
) -> Report:
    """Write a page on pairs of models with one start; the file appears whole or not at all.

    Args:
        pairs: one to six; those with the same name are numbered.
        path: the file to write; its folder is made.
        title: of the page; by default it names the model.
        sections: what to draw, by default every measure there is.

    Raises:
        RunError: if there are no pairs or too many, they do not belong together, or the file cannot be written or is
            another one.
    """
    path, pairs = path_of(path), numbered(pairs)
    check_page_place(path)
    check(pairs)
    facts = pairs[0].facts
    model = facts.model.rpartition(":")[2]
    # Numbers of one record that contradict one another are found where they are drawn.
    names = " and ".join(pair.name for pair in pairs)
    what = "the numbers of an analysis contradict one another"
    with in_one_line(RunError, what, where=names, remedy=ANALYSE_AGAIN, errors=_CONTRADICTION):
        found = told(SECTIONS if sections is None else sections, pairs)
        whole = page.Page(
            title=title or f"What changed in {model}", model=model, start=facts.before.reference,
            verdict=verdict.verdict(pairs, found), sections=found, provenance=provenance(pairs),
        )  # fmt: skip
        text = _small_enough(whole, path)
    _write(path, text)
    headlines = tuple((one.name, one.result.headline) for one in whole.verdict.pairs)
    return Report(path, len(text), tuple(section.name for section in found), headlines)


def told(makes: Sequence[Draws], pairs: Sequence[ModelPair]) -> tuple[Section, ...]:
    """Return the sections that pairs have records for; those measured on too few samples judge nothing."""
    sections = []
    for section in filter(None, (make(pairs) for make in makes)):
        judged = Judgement(section.findings, section.claim)
        if found := weighed(judged, pairs, (section.name, *section.more_records)):
            section = replace(section, findings=found.findings, claim=found.claim, notes=(*section.notes, NOTE))
        sections.append(section)
    return tuple(sections)


def _small_enough(whole: page.Page, path: Path) -> bytes:
    """Return the page, with fewer options to choose from where it would be too large."""
    while len(text := page.draw(whole).encode()) > LIMIT:
        fewer = thinned(whole.sections)
        if fewer is None:
            most, size = f"at most {LIMIT / 1e6:g} MB", f"{len(text) / 1e6:.1f} MB"
            remedy = "report on fewer pairs"
            raise RunError("the page is too large", where=str(path), expected=most, found=size, remedy=remedy)
        whole = replace(whole, sections=fewer)
    return text


def thinned(sections: Sequence[Section]) -> tuple[Section, ...] | None:
    """Return the sections with about half of the options of their largest choice, the first one kept.

    What was left out is said in the section's notes. None if no choice has options to spare.
    """
    choices: dict[tuple[int, str], list[Figure]] = {}
    for place, section in enumerate(sections):
        for figure in section.figures:
            if figure.choice is not None:
                choices.setdefault((place, figure.choice), []).append(figure)
    large = [(key, options) for key, options in choices.items() if len(options) > _FEWEST]
    if not large:
        return None
    (place, choice), options = max(large, key=lambda entry: sum(map(_size, entry[1])))
    dropped = {id(figure) for figure in options[1::2]}
    start = f"Of each {choice} in the analysis, "
    notes = [note for note in sections[place].notes if not note.startswith(start)]
    notes.append(f"{start}every few are shown here, {len(options[::2])} in all, so that the page stays small.")
    figures = tuple(figure for figure in sections[place].figures if id(figure) not in dropped)
    return (*sections[:place], replace(sections[place], figures=figures, notes=tuple(notes)), *sections[place + 1 :])


def _size(figure: Figure) -> int:
    """Return about how many characters a figure takes on the page."""
    rows = figure.table.rows if figure.table else ()
    return len(figure.drawing) + sum(len(cell) + 9 for row in rows for cell in row)


def _write(path: Path, text: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(text)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        remedy = f"{remedy_for(error) or 'check the place'}, then give the same command again"
        raise RunError("cannot write the report", where=str(path), found=said_by(error), remedy=remedy) from error
