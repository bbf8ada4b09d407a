"""Writing a report: pairs of models in, one HTML file out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refconv.errors import RunError
from refconv.measures.findings import Judgement
from refconv.measures.pairs import Pair
from refconv.measures.verdicts import NOTE, weighed
from refconv.report import overview, page, verdict
from refconv.report.elements import Section
from refconv.report.fitting import thinned
from refconv.report.provenance import provenance

LIMIT = 5_000_000
"""Bytes that a page may have."""

MOST = 6
"""Pairs that have a colour of their own."""

Draws = Callable[[Sequence[Pair]], Section | None]
"""A section of the page, made of the pairs' records; None if no pair has them."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: the file.
        size: its bytes.
        sections: the names of the measures on it.
        headlines: per pair, its name and what came of it in a line.
    """

    path: Path
    size: int
    sections: tuple[str, ...]
    headlines: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{name}: {headline}" for name, headline in self.headlines]
        measures = f"{len(self.sections)} measure{'' if len(self.sections) == 1 else 's'}"
        return "\n".join([*lines, f"{self.path}: {measures}, {self.size / 1e6:.2f} MB"])


def write_report(
    pairs: Sequence[Pair], path: Path | str, *, title: str | None = None, sections: Sequence[Draws] | None = None
) -> Report:
    """Write a page on pairs of models with one start; the file appears whole or not at all.

    Args:
        pairs: one to six; those with the same name are numbered.
        path: the file to write; its folder is made.
        title: of the page; by default it names the model.
        sections: what to draw, by default every measure there is.

    Raises:
        RunError: if there are no pairs or too many, they do not belong together, or the file cannot be written.
    """
    pairs = numbered(pairs)
    check(pairs)
    found = told(_chosen(sections), pairs)
    facts = pairs[0].facts
    model = facts["model"].rpartition(":")[2]
    whole = page.Page(
        title=title or f"What changed in {model}",
        model=model,
        start=facts["before"]["reference"],
        overview=overview.overview(pairs, found),
        verdict=verdict.verdict(pairs, found),
        sections=found,
        provenance=provenance(pairs),
    )
    text = _small_enough(whole, Path(path))
    _write(Path(path), text)
    headlines = tuple((one.name, one.headline) for one in whole.verdict.pairs)
    return Report(Path(path), len(text), tuple(section.name for section in found), headlines)


def told(makes: Sequence[Draws], pairs: Sequence[Pair]) -> tuple[Section, ...]:
    """Return the sections that pairs have records for; those measured on too few samples judge nothing.

    Args:
        makes: the sections, functions of all pairs.
        pairs: the pairs.
    """
    return tuple(_weighed(section, pairs) for make in makes if (section := make(pairs)) is not None)


def _weighed(section: Section, pairs: Sequence[Pair]) -> Section:
    found = weighed(Judgement(section.findings, section.claim), pairs, section.records)
    if found is None:
        return section
    return replace(section, findings=found.findings, claim=found.claim, notes=(*section.notes, NOTE))


def _chosen(sections: Sequence[Draws] | None) -> Sequence[Draws]:
    if sections is not None:
        return sections
    from refconv.report.sections import SECTIONS

    return SECTIONS


def numbered(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs with names of their own: of several with one name, the second and later ones get a number."""
    taken: set[str] = set()
    found = []
    for pair in pairs:
        name, number = pair.name, 1
        while name in taken:
            number += 1
            name = f"{pair.name} {number}"
        taken.add(name)
        found.append(pair if name == pair.name else replace(pair, name=name))
    return found


def check(pairs: Sequence[Pair]) -> None:
    """Make sure that pairs can stand on one page.

    Raises:
        RunError: if there are none or too many, or they differ in architecture, task or start.
    """
    if not 1 <= len(pairs) <= MOST:
        raise RunError("cannot report on these pairs", where="report", expected=f"1 to {MOST}", found=f"{len(pairs)}")
    first = pairs[0]
    for pair in pairs[1:]:
        for what, one, other in (
            ("architecture", first.facts["model"], pair.facts["model"]),
            ("task", first.facts.get("task"), pair.facts.get("task")),
            ("start", first.facts["before"]["fingerprint"], pair.facts["before"]["fingerprint"]),
        ):
            if one != other:
                raise RunError(
                    f"another {what} than {first.name}",
                    where=pair.name,
                    expected=_start(first) if what == "start" else str(one),
                    found=_start(pair) if what == "start" else str(other),
                    remedy="pairs on one page share their first model; write one report each",
                )


def _start(pair: Pair) -> str:
    before = pair.facts["before"]
    return f"{before['reference']} (weights {str(before['fingerprint'])[:12]})"


def _small_enough(whole: page.Page, path: Path) -> bytes:
    """Return the page, with fewer options to choose from where it would be too large.

    Raises:
        RunError: if it is too large without them, too.
    """
    while len(text := page.draw(whole).encode()) > LIMIT:
        fewer = thinned(whole.sections)
        if fewer is None:
            raise RunError(
                "the page is too large",
                where=str(path),
                expected=f"at most {LIMIT / 1e6:g} MB",
                found=f"{len(text) / 1e6:.1f} MB",
                remedy="report on fewer pairs",
            )
        whole = replace(whole, sections=fewer)
    return text


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
        raise RunError("cannot write the report", where=str(path), found=str(error)) from error
