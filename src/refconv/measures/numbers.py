"""Numbers as people read them: few digits, a true minus, units beside them, and how they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
Show = Callable[[float | None], str]  #: A number as text


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, or a dash for one that is not defined.

    Example:
        >>> number(0.12345), number(1234567.0), number(None), number(-2.0), number(2e-9)
        ('0.123', '1.23e+06', '–', '−2', '2e−09')
    """
    return MISSING if value is None else _minus(f"{value:.{digits}g}")


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign, such as ``+0.5``."""
    return MISSING if value is None else _minus(f"{value:+.{digits}g}")


def percent(value: float | None, decimals: int = 1) -> str:
    """Return a share as a percentage, such as ``12.3 %``."""
    return MISSING if value is None else _minus(f"{100 * value:.{decimals}f} %")


fine_percent: Show = partial(percent, decimals=2)
fine_number: Show = partial(number, digits=4)


def points(value: float | None, decimals: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign.

    Example:
        >>> points(-0.0012)
        '−0.12'
    """
    return MISSING if value is None else _minus(f"{100 * value:+.{decimals}f}")


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things.

    Example:
        >>> count(1, "layer"), count(1200, "sample")
        ('1 layer', '1,200 samples')
    """
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def times(sizes: Sequence[int]) -> str:
    """Return sizes as people write them.

    Example:
        >>> times((3, 3)), times((7,))
        ('3 × 3', '7')
    """
    return " × ".join(map(str, sizes))


def be(number: int) -> str:
    """Return the verb that goes with a number of things."""
    return "is" if number == 1 else "are"


def course(show: Show, before: float | None, after: float | None) -> str:
    """Return how a number went.

    Example:
        >>> course(str, 1.0, 2.5), course(str, 2.5, 1.0), course(str, 1.0, 1.0)
        ('rises from 1.0 to 2.5', 'falls from 2.5 to 1.0', 'stays at 1.0')
    """
    first, second = show(before), show(after)
    if before is None or after is None:
        first, second = ("not defined" if text == MISSING else text for text in (first, second))
        return f"goes from {first} to {second}"
    if first == second:
        return f"stays at {second}"
    return f"{'rises' if after > before else 'falls'} from {first} to {second}"


def compared(show: Show, than: str, value: float, other: float) -> str:
    """Return how a number stands to that of another pair.

    Example:
        >>> compared(str, "plain", 1.0, 2.0), compared(str, "plain", 1.0, 1.0)
        ('1.0, lower than the 2.0 of plain', '1.0, as that of plain')
    """
    first, second = show(value), show(other)
    if first == second:
        return f"{first}, as that of {than}"
    return f"{first}, {'higher' if value > other else 'lower'} than the {second} of {than}"


def _minus(text: str) -> str:
    """Give a number true minus signs, at which no line breaks."""
    return text.replace("-", MINUS)
