"""Sentences on a number that every layer has: where it went, and how two pairs end up beside one another."""

from __future__ import annotations

from typing import Literal

from refconv.measures.direction import Direction, as_change, tally
from refconv.measures.findings import Finding
from refconv.measures.layers import Quantity, contrast_of, course_of
from refconv.measures.pairs import Measured
from refconv.measures.wording import compared, course
from refconv.sentences import capital

Good = Literal["up", "down"] | None
"""Which way is the better one, if one is."""


def mean_of(found: Direction, name: str) -> str:
    """Return what the number of a direction is called: a mean unless there is but one layer."""
    return f"the {name}" if found.layers == 1 else f"the mean {name}"


def course_clause(found: Direction, quantity: Quantity) -> str:
    """Return where a number went, without a full stop.

    Example:
        >>> from refconv.measures.direction import direction
        >>> course_clause(direction([(1.0, 2.0), (2.0, 3.0)]), Quantity("cosine", float))
        'the mean cosine rises from 1.5 to 2.5 (up in 2 of 2 layers, too few layers to tell a direction)'
    """
    if not found.layers:
        return f"the {quantity.name} is defined in no layer of both models"
    went = f"{course(quantity.show, found.before, found.after)}{quantity.after_value}"
    return f"{mean_of(found, quantity.name)} {went} ({tally(found)})"


def contrast_clause(found: Direction, quantity: Quantity, than: str) -> str:
    """Return how a number stands to that of another pair, without a full stop.

    Args:
        found: from the other pair to the one that is spoken of.
        quantity: the number.
        than: the other pair's name.
    """
    if found.before is None or found.after is None:
        return f"the {quantity.name} cannot be compared with {than}"
    ends = compared(lambda value: f"{quantity.show(value)}{quantity.after_value}", than, found.after, found.before)
    return f"{mean_of(found, quantity.name)} is {ends} ({tally(found, 'higher', 'lower')})"


def course_finding(item: Measured, quantity: Quantity, good: Good = None) -> Finding:
    """Return where a number went between before and after."""
    found = course_of(item, quantity)
    return Finding(item.name, f"{capital(course_clause(found, quantity))}.", as_change(found.way, good), found.p)


def contrast_finding(subject: Measured, reference: Measured, quantity: Quantity, good: Good = None) -> Finding:
    """Return how a pair's result stands to that of another."""
    found = contrast_of(subject, reference, quantity)
    text = f"Where {subject.name} ends, {contrast_clause(found, quantity, reference.name)}."
    return Finding(subject.name, text, as_change(found.way, good), found.p)
