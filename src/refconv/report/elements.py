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

    Attributes:
        drawing: inline SVG or an image, made by `refconv.report.charts`.
        alt: what is to be seen in it, in a sentence or two with the main numbers.
        caption: what it shows, below the picture.
        table: the numbers behind it; None only where there are none, as in a photograph.
        choice: name of the choice that this figure is one option of, such as ``layer``: where there are several of one
            choice, the reader picks; without scripts each folds open.
        option: what the option is called, such as the layer's name.
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

    Attributes:
        about: what is measured, in two sentences at most.
        findings: at least one per pair; the first of each pair is the one that the verdict repeats.
        notes: small print: samples used, what was cut off, what to be careful about.
        more_records: measures besides the one of its name whose records it reads.
    """

    name: str
    title: str
    about: str
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...] = ()
    claim: Claim | None = None
    notes: tuple[str, ...] = ()
    more_records: tuple[str, ...] = ()
