"""Pieces of sentences that are right for a rise, a fall and no change."""

from __future__ import annotations

from collections.abc import Callable

from refconv.measures.findings import Change
from refconv.measures.numbers import MISSING


def course(show: Callable[[float | None], str], before: float | None, after: float | None) -> str:
    """Return how a number went.

    Args:
        show: the number as text.
        before: where from; None if it was not defined.
        after: where to.

    Example:
        >>> course(str, 1.0, 2.5), course(str, 2.5, 1.0), course(str, 1.0, 1.0)
        ('rises from 1.0 to 2.5', 'falls from 2.5 to 1.0', 'stays at 1.0')
    """
    first, second = show(before), show(after)
    if before is None or after is None:
        return f"goes from {_or_undefined(first)} to {_or_undefined(second)}"
    if first == second:
        return f"stays at {second}"
    return f"{'rises' if after > before else 'falls'} from {first} to {second}"


def compared(show: Callable[[float | None], str], than: str, value: float, other: float) -> str:
    """Return how a number stands to another one.

    Args:
        show: the number as text.
        than: whose the other number is.
        value: the number.
        other: what it is compared with.

    Example:
        >>> compared(str, "plain", 1.0, 2.0), compared(str, "plain", 1.0, 1.0)
        ('1.0, lower than the 2.0 of plain', '1.0, as that of plain')
    """
    first, second = show(value), show(other)
    if first == second:
        return f"{first}, as that of {than}"
    return f"{first}, {'higher' if value > other else 'lower'} than the {second} of {than}"


SURENESS: dict[Change, str] = {
    "better": "beyond chance",
    "worse": "beyond chance",
    "different": "beyond chance",
    "same": "no difference",
    "unclear": "within chance",
}
"""What a judgement of a difference means, in words."""


def _or_undefined(text: str) -> str:
    return "not defined" if text == MISSING else text
