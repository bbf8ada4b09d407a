"""How sharply the loss rises around the models, averaged over random directions."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.judging import student
from refconv.measures.numbers import number
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.verdicts.sharpness import VERDICT
from refconv.report.charts import Bars, Dots, bar_chart, dot_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec


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
    VERDICT,
    title="Sharpness",
    about="Sharpness is how much the loss rises, on average over random directions, when every filter is moved by "
    "a given share of its norm. Smaller is flatter: the model minds small changes of its weights less.",
    figures=lambda items: (_means(items), _directions(items)),
    notes=_notes,
)
