"""How alike the kernels of a layer's channels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.measures.direction import RULE, Direction, Way
from refconv.measures.findings import Change, Claim, Finding
from refconv.measures.layer_findings import contrast_clause, course_clause
from refconv.measures.layers import Quantity, contrast_of, course_of, field, kinds, row_of, values
from refconv.measures.numbers import count, number
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.support import REFCONV, verdict
from refconv.report.charts import Heat, heat_maps
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import PICTURED, layer_figure, pictured_note, spread
from refconv.report.sections.spec import Spec
from refconv.sentences import capital

DIVERGENCE = Quantity("divergence", field("divergence"), "nats")
SCALED = Quantity("scaled divergence", field("scaled_divergence"), "nats")
COSINE = Quantity("absolute cosine", field("cosine"))
RANK = Quantity("effective rank", field("effective_rank"))

_FREE: tuple[tuple[Quantity, Way], ...] = ((SCALED, "up"), (COSINE, "down"), (RANK, "up"))
"""The measures that scale does not touch, and where each goes in a layer that becomes less redundant."""

_CAPTIONS = {
    DIVERGENCE: "Mean Kullback-Leibler divergence between channels, as RefConv measures redundancy: larger is less "
    "redundant. It also grows when weights merely grow.",
    SCALED: "The same after every layer's weights are divided by their root mean square: it sees patterns, not scale.",
    COSINE: "Mean absolute cosine between channels, 0 to 1: smaller is less redundant.",
    RANK: "Effective number of directions that a layer's slices span, from 1 to the number of taps: larger is less "
    "redundant.",
}

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


def _matrices(items: Sequence[Measured]) -> list[Figure]:
    """Return the divergences between a sample of channels, a figure per layer."""
    of_all = values(items, DIVERGENCE)
    drawn = [layer for layer in kinds(items) if any(value is not None for value in of_all[layer].values())]
    return [_matrix(items, layer) for layer in spread(drawn)]


def _matrix(items: Sequence[Measured], layer: str) -> Figure:
    found = [(item, row) for item in items if (row := row_of(item, layer)) is not None]
    row = found[0][1]
    sides = [(BEFORE, row.before), *((item.name, row.after) for item, row in found)]
    drawing = heat_maps(
        [Heat(name, side.matrix) for name, side in sides],
        unit="nats",
        x_label="channel j",
        y_label="channel i",
        low=0,
    )
    shown, sampled = len(row.shown), row.sampled
    names = [quantity.label for quantity in (DIVERGENCE, SCALED, COSINE, RANK)]
    rows = tuple((name, *(number(q.of(side)) for q in (DIVERGENCE, SCALED, COSINE, RANK))) for name, side in sides)
    means = ", ".join(f"{name} {number(side.divergence)}" for name, side in sides)
    return Figure(
        drawing,
        alt=f"Divergence between {count(shown, 'channel')} of {layer}, a matrix per model. Mean over "
        f"{count(sampled, 'channel')}: {means} nats.",
        caption=f"Kullback-Leibler divergence from channel i to channel j of {layer}, {shown} of "
        f"{count(row.channels, 'channel')}, one scale for all; 0 is between equal kernels.",
        table=Table(f"Redundancy of {layer}", ("model", *names), rows),
        choice="layer",
        option=layer,
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    rows = [row for item in items for row in item.record.layers]
    cut = {row.layer for row in rows if row.sampled < row.channels}
    lonely = {row.layer for row in rows if row.channels < 2}
    most, held = max(row.sampled for row in rows), len(kinds(items)) - len(lonely)
    cut_note = f"Of {count(len(cut), 'large layer')} {most} channels were compared, the same ones in all models."
    return (
        "Softmax is not indifferent to scale: for small weights the divergence grows with their square. If it grew and "
        "the scaled divergence, cosine and effective rank did not move, the weights grew, nothing else.",
        RULE,
        *((cut_note,) if cut else ()),
        *((f"Without a second channel to compare with: {', '.join(sorted(lonely))}.",) if lonely else ()),
        *pictured_note(min(PICTURED, held), held, "matrix"),
    )


section = Spec(
    name="redundancy",
    title="Channel redundancy",
    about="Redundancy asks whether the channels of a layer repeat one another: the kernels of two channels become "
    "distributions by a softmax, and their Kullback-Leibler divergence says how different they are. Larger "
    "divergence means less redundancy, but it also sees the scale of the weights, so three measures that do not "
    "stand beside it.",
    findings=lambda item: (_headline(item), _apart_from_scale(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=_claim,
    figures=lambda items: (
        *(layer_figure(items, one, caption=text, choice="measure") for one, text in _CAPTIONS.items()),
        *_matrices(items),
    ),
    notes=_notes,
)
