"""How alike the kernels of a layer's channels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.measures.direction import Direction, Way
from refconv.measures.findings import Change, Claim, Finding
from refconv.measures.layer_findings import contrast_clause, course_clause
from refconv.measures.layers import Quantity, contrast_of, course_of, field
from refconv.measures.pairs import Measured
from refconv.measures.support import REFCONV, verdict
from refconv.measures.verdicts.verdict import Verdict
from refconv.sentences import capital

DIVERGENCE = Quantity("divergence", field("divergence"), "nats")

SCALED = Quantity("scaled divergence", field("scaled_divergence"), "nats")

COSINE = Quantity("absolute cosine", field("cosine"))

RANK = Quantity("effective rank", field("effective_rank"))

_FREE: tuple[tuple[Quantity, Way], ...] = ((SCALED, "up"), (COSINE, "down"), (RANK, "up"))
"""The measures that scale does not touch, and where each goes in a layer that becomes less redundant."""

Reading = tuple[Change, str]
"""A change, and a clause why."""


def reading(between: Callable[[Quantity], Direction]) -> Reading:
    """Return whether channels became less redundant, and a clause why.

    Divergence alone does not decide, as softmax sees scale: where it grew, one of the measures free of scale has to say
    the same and none the opposite, and the other way round.

    Args:
        between: which way a quantity went over layers.
    """
    way = between(DIVERGENCE).way
    ways = [(between(quantity).way, good) for quantity, good in _FREE]
    less, more = _witnesses(ways)
    if way == "unclear":
        return "unclear", "the divergence between channels shows no clear direction"
    if way == "same":
        return "same", "the divergence between channels stayed the same"
    return _GROWN[less, more] if way == "up" else _SHRUNK[less, more]


_GROWN: dict[tuple[bool, bool], Reading] = {
    (True, False): ("better", "divergence grew, and apart from scale the channels became less alike, too"),
    (False, False): (
        "different",
        "divergence grew, but no measure free of scale shows channels less alike: the weights grew, and more is not "
        "to be seen",
    ),
    (False, True): ("worse", "divergence grew with the weights, but apart from scale the channels became more alike"),
    (True, True): ("unclear", "divergence grew, but the measures free of scale disagree"),
}
"""By whether a measure free of scale shows channels less alike, and whether one shows them more alike."""

_SHRUNK: dict[tuple[bool, bool], Reading] = {
    (False, True): ("worse", "divergence shrank, and apart from scale the channels became more alike, too"),
    (False, False): (
        "different",
        "divergence shrank, but no measure free of scale shows channels more alike: the weights shrank, and more is "
        "not to be seen",
    ),
    (True, False): (
        "different",
        "divergence shrank with the weights, while apart from scale the channels became less alike",
    ),
    (True, True): ("unclear", "divergence shrank, but the measures free of scale disagree"),
}


def _witnesses(ways: Sequence[tuple[Way, Way]]) -> tuple[bool, bool]:
    """Return whether a measure shows less redundancy, and whether one shows more.

    Args:
        ways: where each went, and where it goes with less redundancy.
    """
    moved = [found == good for found, good in ways if found in {"up", "down"}]
    return any(moved), not all(moved)


def _reading(item: Measured) -> Reading:
    return reading(lambda quantity: course_of(item, quantity))


def _headline(item: Measured) -> Finding:
    change, why = _reading(item)
    found = course_of(item, DIVERGENCE)
    if not found.layers:
        return Finding(item.name, "No layer has two channels to compare.", change)
    reason = "" if change in {"same", "unclear"} else f": {why}"
    return Finding(item.name, f"{capital(course_clause(found, DIVERGENCE))}{reason}.", change, found.p)


def _apart_from_scale(item: Measured) -> Finding:
    found = {quantity: course_of(item, quantity) for quantity, _ in _FREE}
    less, more = _witnesses([(found[quantity].way, good) for quantity, good in _FREE])
    change: Change = "unclear"
    if less != more:
        change = "better" if less else "worse"
    elif all(way.way == "same" for way in found.values()):
        change = "same"
    text = "; ".join(course_clause(way, quantity) for quantity, way in found.items())
    return Finding(item.name, f"Free of scale: {text}.", change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    found = {one: contrast_of(subject, reference, one) for one in (DIVERGENCE, SCALED)}
    text = "; ".join(contrast_clause(way, one, reference.name) for one, way in found.items())
    change = _beside(subject, reference)
    return Finding(subject.name, f"Where {subject.name} ends, {text}.", change, found[DIVERGENCE].p)


def _beside(subject: Measured, reference: Measured) -> Change:
    """Return whether one pair ends less redundant than another."""
    return reading(lambda quantity: contrast_of(subject, reference, quantity))[0]


def _claim(items: Sequence[Measured]) -> Claim | None:
    plain = next((item for item in items if item.plain), None)
    verdicts = {}
    for item in items:
        if not item.plain:
            change, why = _reading(item)
            verdicts[item.name] = verdict(change, {change: capital(why)}, _beside(item, plain) if plain else None)
    says = "Refocusing makes channels less redundant: the divergence between their kernels grows."
    return Claim(says, REFCONV, verdicts) if verdicts else None


VERDICT = Verdict(
    "redundancy",
    findings=lambda item: (_headline(item), _apart_from_scale(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=_claim,
)
