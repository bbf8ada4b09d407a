"""What a page consists of: sections with findings, figures and claims, all plain data that `page.py` draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

Change = Literal["better", "worse", "different", "same", "unclear"]
"""What a finding says: a change for the better or the worse, one that is neither, none, or that it cannot be told."""

Support = Literal["supported", "contradicted", "undecided"]
"""What a pair of models says of a claim."""


@dataclass(frozen=True)
class Table:
    """Cells under a header; the first column names the row, the others hold numbers.

    Attributes:
        caption: what the table shows, for those who hear it read.
        header: a name per column.
        rows: cells as text, as many per row as the header has.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """

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
class Finding:
    """One thing that a measure says about one pair of models.

    Attributes:
        pair: the name of the pair.
        text: a sentence that makes sense by itself, with numbers and units.
        change: what kind of change that is.
        p: how often chance alone gives a difference as large, 0 to 1; None where nothing was tested.
    """

    pair: str
    text: str
    change: Change
    p: float | None = None


@dataclass(frozen=True)
class Claim:
    """What a source claims of refocusing, and what each pair says to it.

    Attributes:
        says: the claim, in a sentence.
        source: who claims it.
        verdicts: per pair, whether it supports the claim, and a sentence why.
    """

    says: str
    source: str
    verdicts: Mapping[str, tuple[Support, str]]


@dataclass(frozen=True)
class Judgement:
    """What a measure says of pairs of models.

    Attributes:
        findings: at least one per pair; the first of each pair is its headline.
        claim: what is claimed about the measure, where something is.
    """

    findings: tuple[Finding, ...]
    claim: Claim | None = None


@dataclass(frozen=True)
class Section:
    """One measure on the page.

    Attributes:
        name: the measure's name, also the section's anchor.
        title: its heading.
        about: what is measured, in two sentences at most.
        findings: at least one per pair; the first of each pair is the one that the verdict repeats.
        figures: in the order in which they are to be read.
        claim: what is claimed about this measure, where something is.
        notes: small print: samples used, what was cut off, what to be careful about.
        more_records: measures besides the one of its name whose records it reads.
    """

    name: str
    title: str
    about: str
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...] = ()
    claim: Claim | None = None
    notes: tuple[str, ...] = field(default=())
    more_records: tuple[str, ...] = ()

    @property
    def records(self) -> tuple[str, ...]:
        """Names of the measures whose records it reads."""
        return (self.name, *self.more_records)
