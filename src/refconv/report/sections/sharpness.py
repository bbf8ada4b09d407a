"""How sharply the loss rises around the models, averaged over random directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, paired, student
from refconv.measures.numbers import count, number, percent, signed
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.support import REFCONV, claim
from refconv.measures.wording import SURENESS, compared, course
from refconv.report.charts import Bars, Dots, bar_chart, dot_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec

_WORDS: dict[Change, str] = {
    "better": "The loss rises less around the later model",
    "worse": "The loss rises more around the later model",
    "same": "The loss rises alike around both models",
    "unclear": "How much the loss rises does not differ by more than chance",
}


def _difference(item: Measured) -> Difference:
    found = item.record.difference
    return Difference(found.mean, found.error, student(len(found.values)))


def _between(subject: Measured, reference: Measured) -> Difference:
    """Return how one pair's result differs from another's, by direction where both walked along the same ones."""
    mine, theirs = subject.after.rise, reference.after.rise
    if _walks(subject) == _walks(reference):
        return paired(theirs.values, mine.values)
    fewest = min(len(mine.values), len(theirs.values))
    same_radius = subject.record.radius == reference.record.radius
    value = mine.mean - theirs.mean if same_radius else None
    return Difference(value, math.hypot(mine.error, theirs.error), student(fewest))


def _walks(item: Measured) -> tuple[Any, ...]:
    return item.record.seed, item.record.radius, len(item.after.rise.values)


def _rise(item: Measured) -> Finding:
    found = _difference(item)
    change = found.judged(lower=True)
    text = (
        f"With every filter moved by {percent(item.record.radius, 0)} of its norm the loss rises by "
        f"{number(item.before.rise.mean)} before and by {number(item.after.rise.mean)} after (difference "
        f"{signed(found.value)} ± {number(found.error, 2)} over "
        f"{count(len(item.record.difference.values), 'direction')}: {SURENESS[change]})."
    )
    return Finding(item.name, text, change, found.p)


def _loss(item: Measured) -> Finding:
    losses = item.before.as_is, item.after.as_is
    shown = [number(loss, 4) for loss in losses]
    text = f"The loss itself {course(lambda loss: number(loss, 4), *losses)} on these samples."
    return Finding(item.name, text, "same" if shown[0] == shown[1] else "different")


def _contrast(subject: Measured, reference: Measured) -> Finding:
    found = _between(subject, reference)
    if found.value is None:
        text = f"{subject.name} and {reference.name} were moved by different distances and cannot be compared."
        return Finding(subject.name, text, "unclear")
    change = found.judged(lower=True)
    means = [item.after.rise.mean for item in (subject, reference)]
    text = (
        f"Around {subject.name} the mean rise is {compared(number, reference.name, *means)} (difference "
        f"{signed(found.value)} ± {number(found.error, 2)}: {SURENESS[change]})."
    )
    return Finding(subject.name, text, change, found.p)


def _means(items: Sequence[Measured]) -> Figure:
    found = models(items)
    rises = {role: side.rise for role, _, side in found}
    errors = {role: student(len(rise.values)) * rise.error for role, rise in rises.items()}
    bars = [Bars("mean rise", {role: rise.mean for role, rise in rises.items()}, errors)]
    rows = tuple(
        (
            name,
            number(side.rise.mean),
            number(side.rise.error, 2),
            number(side.rise.deviation, 2),
            number(side.as_is, 4),
            number(side.centre, 4),
        )
        for _, name, side in found
    )
    header = ("model", "mean rise", "standard error", "standard deviation", "loss as it is", "loss recalibrated")
    words = ", ".join(f"{name} {number(side.rise.mean)} ± {number(side.rise.error, 2)}" for _, name, side in found)
    return Figure(
        bar_chart(bars, role_names(items), title="Mean rise of the loss", y_label=f"rise of the {loss_label(items)}"),
        alt=f"Bars of the mean rise of the loss: {words}.",
        caption="Mean rise of the loss over random directions with its 95 % interval. The models share their "
        "directions, so that differences are surer than the bars.",
        table=Table("Sharpness in numbers", header, rows),
    )


def _directions(items: Sequence[Measured]) -> Figure:
    values = {role: side.rise.values for role, _, side in models(items)}
    places = range(max(map(len, values.values())))
    rows = [
        (str(place + 1), {role: rises[place] if place < len(rises) else None for role, rises in values.items()})
        for place in places
    ]
    title = "Rise of the loss by direction"
    flatter = ", ".join(
        f"{item.name} in {sum(value < 0 for value in item.record.difference.values)} of "
        f"{len(item.record.difference.values)}"
        for item in items
    )
    return Figure(
        dot_chart(
            [Dots(*row) for row in rows], role_names(items), title=title, x_label=f"rise of the {loss_label(items)}"
        ),
        alt=f"Dots of the rise of the loss along each random direction. It is lower after: {flatter}.",
        caption=f"{title}: a row per random direction, shared by the models.",
        table=Table(
            title,
            ("direction", *(name for _, name, _ in models(items))),
            tuple((label, *(number(value) for value in found.values())) for label, found in rows),
        ),
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    return (
        *conditions_note(items),
        "± is one standard error over directions; it does not tell of other samples or other trainings.",
        "A sharper loss may just be a larger one: read the rise beside the loss itself.",
    )


section = Spec(
    name="sharpness",
    title="Sharpness",
    about="Sharpness is how much the loss rises, on average over random directions, when every filter is moved by "
    "a given share of its norm. Smaller is flatter: the model minds small changes of its weights less.",
    findings=lambda item: (_rise(item), _loss(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=lambda items: claim(
        "After refocusing the loss landscape is smoother: the loss rises less around the model.",
        REFCONV,
        items,
        lambda item: _difference(item).judged(lower=True),
        _WORDS,
        lambda item, plain: _between(item, plain).judged(lower=True),
    ),
    figures=lambda items: (_means(items), _directions(items)),
    notes=_notes,
)
