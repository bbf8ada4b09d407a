"""What a page consists of: sections with findings, figures and claims, all plain data that `page.py` draws."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from refconv.measures.findings import Claim, Finding


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
