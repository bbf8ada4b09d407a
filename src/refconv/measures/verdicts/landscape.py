"""The loss around the models: along one random direction, and over a plane of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import agreed
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured
from refconv.measures.rises import Rises, line_rises, surface_rises
from refconv.measures.support import REFCONV, claim
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared
from refconv.sentences import capital

_WORDS: dict[Change, str] = {
    "better": "Around the later model the loss rises less at nearly every distance",
    "worse": "Around the later model the loss rises more at nearly every distance",
    "same": "The loss rises alike around both models",
    "unclear": "Whether the bowl is wider cannot be told: the loss rises neither less nor more at nearly all distances",
}

Rising = Callable[[Measured, Measured, str, str], Rises]


def with_record(items: Sequence[Measured], name: str) -> list[Measured]:
    """Return the pairs that have a record of this name, with it."""
    return [Measured(item.role, item.pair, record) for item in items if (record := item.pair.record(name))]


def _kinds(items: Sequence[Measured]) -> list[tuple[tuple[Rising, str], list[Measured]]]:
    """Return how rises are read and where they are, with the pairs that have them: along a line, over a plane."""
    return [
        ((line_rises, "along one random direction"), with_record(items, "landscape")),
        ((surface_rises, "over a plane of two directions"), with_record(items, "surface")),
    ]


def _agreed(first: Measured, second: Measured, side: str) -> Change:
    """Return what line and plane together say of the second pair's result beside one side of the first."""
    both = [(rising, held) for (rising, _), held in _kinds([first, second]) if len(held) == 2]
    return agreed([rising(held[0], held[1], side, "after").judged for rising, held in both]) if both else "unclear"


def _rise(item: Measured, rising: Rising, where: str) -> Finding:
    found = rising(item, item, "before", "after")
    if found.first is None or found.second is None:
        text = f"The losses {where} cannot be compared: the loss of a model itself is not finite."
        return Finding(item.name, text, "unclear")
    text = (
        f"{capital(where)}, as far as {number(max(item.record.distances))} times the filters' norms, "
        f"the loss rises on average by {number(found.first)} before and by {number(found.second)} after; it rises "
        f"less after at {found.lower} of {count(found.points, 'point')}."
    )
    return Finding(item.name, text, found.judged)


def _contrast(subject: Measured, reference: Measured, rising: Rising, where: str) -> Finding:
    found = rising(reference, subject, "after", "after")
    if found.first is None or found.second is None:
        text = f"{subject.name} and {reference.name} cannot be compared {where}: they share no finite losses."
        return Finding(subject.name, text, "unclear")
    text = (
        f"{capital(where)} the mean rise around {subject.name} is "
        f"{compared(number, reference.name, found.second, found.first)}, and less at {found.lower} of "
        f"{count(found.points, 'point')}."
    )
    return Finding(subject.name, text, found.judged)


VERDICT = Verdict(
    "landscape",
    findings=lambda item: (_rise(one, *kind) for kind, held in _kinds([item]) for one in held),
    contrasts=lambda subject, reference: (
        _contrast(held[0], held[1], *kind) for kind, held in _kinds([subject, reference]) if len(held) == 2
    ),
    claim=lambda items: claim(
        "After refocusing the loss landscape is smoother: a wider bowl around the model.",
        REFCONV,
        items,
        lambda item: _agreed(item, item, "before"),
        _WORDS,
        lambda item, plain: _agreed(plain, item, "after"),
    ),
    more=("surface",),
)
