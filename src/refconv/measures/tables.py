"""Records as text: tables for people, one line a layer."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells under a header, in columns; the first column is aligned left, the others right.

    Example:
        >>> print(text_table(("layer", "cosine"), [("stem", "0.5"), ("head.0", "0.25")]))
        layer   cosine
        stem       0.5
        head.0    0.25
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, or a dash for one that is not defined.

    Example:
        >>> number(0.123456), number(None)
        ('0.123', '-')
    """
    return "-" if value is None else f"{value:.{digits}g}"


def change(before: float | None, after: float | None, digits: int = 3) -> str:
    """Return ``before -> after``.

    Example:
        >>> change(1.0, 2.5)
        '1 -> 2.5'
    """
    return f"{number(before, digits)} -> {number(after, digits)}"


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers that are defined; None if none is.

    Example:
        >>> mean([1.0, None, 3.0])
        2.0
    """
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def times(sizes: Sequence[int]) -> str:
    """Return sizes as people write them.

    Example:
        >>> times((3, 3))
        '3 x 3'
    """
    return " x ".join(map(str, sizes))
