"""What a page consists of: sections with findings, figures and claims, all plain data that `page.py` draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from markupsafe import Markup

from refconv.measures.judging import Claim, Finding
from refconv.measures.pairs import Measured, ModelPair, notes_on
from refconv.measures.verdicts import VERDICTS

Items = Sequence[Measured]


@dataclass(frozen=True)
class Table:
    """Cells as text under a header; the first column names the row, the caption is for those who hear it read."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"table {self.caption!r}: expected {len(self.header)} cells, found {row}")


@dataclass(frozen=True)
class Figure:
    """A picture with the words and the numbers that replace it for those who do not see it.

    A figure may be one `option` of a `choice`, such as ``layer``: where there are several of one choice, the reader
    picks; without scripts each folds open. Only photographs have no table.
    """

    drawing: Markup
    alt: str
    caption: str
    table: Table | None = None
    choice: str | None = None
    option: str | None = None


@dataclass(frozen=True)
class Section:
    """One measure on the page; its name is also its anchor.

    There is at least one finding per pair; the first of each is the one in the heading. `more_records` are measures
    besides the one of its name whose records it reads.
    """

    name: str
    title: str
    about: str
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...] = ()
    claim: Claim | None = None
    notes: tuple[str, ...] = ()
    more_records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """The section of a measure: its verdict with figures, notes and the texts of ``sections/texts.json``."""

    name: str
    figures: Callable[[Items], Iterable[Figure]]  #: in the order in which they are to be read
    #: small print, besides that on pairs without the record; empty ones are left out
    notes: Callable[[Items], Iterable[str]]

    def __call__(self, pairs: Sequence[ModelPair]) -> Section | None:
        """Return the section of all pairs of the page; None if no pair has the record."""
        verdict = VERDICTS[self.name]
        found, items = verdict(pairs), verdict.items(pairs)
        if found is None:
            return None
        notes = (*filter(None, self.notes(items)), *notes_on(pairs, items, self.name))
        figures, text = tuple(self.figures(items)), _texts()[self.name]
        title, about = text["title"], text["about"]
        return Section(self.name, title, about, found.findings, figures, found.claim, notes, verdict.more)


@cache
def _texts() -> dict[str, dict[str, str]]:
    """Return the title of each section, and in two sentences at most what is measured."""
    file = resources.files("refconv.report").joinpath("sections/texts.json")
    found: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    return found
