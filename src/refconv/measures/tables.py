"""What records of measures share: the layer or the samples that they are of, and their text, a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from refconv.errors import printable
from refconv.records import Record

Column = str | tuple[str, str | Callable[[Any], Any]]
"""The field of a row that a column shows, or its title with a field or with a function of the row."""


@dataclass(frozen=True)
class LayerRecord(Record):
    """One layer: the module's name, and its kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``."""

    layer: str
    kind: str


@dataclass(frozen=True)
class Sampled(Record):
    """What was measured on samples: how many, and whether there were more that ``max_samples`` left out."""

    samples: int
    cut: bool


def counted(record: Any) -> str:
    """Return over how many samples a record is."""
    return f"{record.samples:,} samples{' of more' if record.cut else ''}"


def table_of(rows: Iterable[Any], *columns: Column, below: Iterable[Sequence[Any]] = ()) -> str:
    """Return a line per row under the titles of columns; ``below`` are lines of cells behind them."""
    titled = [(column.replace("_", " "), column) if isinstance(column, str) else column for column in columns]
    reads = [attrgetter(of) if isinstance(of, str) else of for _, of in titled]
    return text_table([title for title, _ in titled], [*([read(row) for read in reads] for row in rows), *below])


def text_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows of cells under a header, in columns; the first column is aligned left, the others right.

    Example:
        >>> print(text_table(("layer", "taps", "cosine"), [("stem", (3, 3), 0.5), ("head.0", (1, 1), None)]))
        layer    taps  cosine
        stem    3 x 3     0.5
        head.0  1 x 1       -
    """
    lines = [header, *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def cell(value: Any) -> str:
    """Return a value as a cell: text on one line, counts with commas, sizes with crosses, other numbers by `short`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return times(value)
    return f"{value:,}" if isinstance(value, int) else short(value)


def short(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, or a dash for one that is not defined.

    Example:
        >>> short(0.123456), short(None)
        ('0.123', '-')
    """
    return "-" if value is None else f"{value:.{digits}g}"


def change(before: float | None, after: float | None) -> str:
    """Return ``before -> after``."""
    return f"{short(before)} -> {short(after)}"


def changed(name: str, title: str = "") -> tuple[str, Callable[[Any], str]]:
    """Return the column of a field that rows have in both models, as ``before -> after``."""
    title = title or name.replace("_", " ")
    return title, lambda row: change(getattr(row.before, name, None), getattr(row.after, name, None))


def sampled(of_all: str, title: str = "") -> tuple[str, Callable[[Any], str]]:
    """Return the column of how many were looked at, with the number of all there are where these are more."""

    def shown(row: Any) -> str:
        whole = getattr(row, of_all)
        return f"{row.sampled:,} of {whole:,}" if row.sampled < whole else f"{whole:,}"

    return title or of_all, shown


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers that are defined; None if none is.

    Example:
        >>> mean([1.0, None, 3.0])
        2.0
    """
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def times(sizes: Sequence[int]) -> str:
    """Return sizes as ``3 x 3``."""
    return " x ".join(map(str, sizes))
