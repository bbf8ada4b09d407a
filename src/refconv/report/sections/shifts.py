"""How often a class survives when the image moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from refconv.measures.judging import share_interval
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.shifts import VERDICT
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

Key = Literal["same", "stable"]

_CAPTIONS: dict[Key, str] = {
    "same": "Share of shifts that keep the class, over images and the four directions",
    "stable": "Share of images that keep their class under all shifts up to that distance",
}


def _figure(items: Sequence[Measured], key: Key) -> Figure:
    lines = []
    for role, name, record in models(items):
        bounds = [share_interval(share, record.samples) for share in getattr(record, key)]
        lines.append(
            Line(
                name,
                role,
                record.pixels,
                [100 * share for share in getattr(record, key)],
                low=[100 * low for low, _ in bounds],
                high=[100 * high for _, high in bounds],
            )
        )
    ends = ", ".join(
        f"{name} {percent(getattr(record, key)[0])} to {percent(getattr(record, key)[-1])}"
        for _, name, record in models(items)
    )
    title = "Class kept under a shift" if key == "same" else "Class kept under all shifts"
    last = items[0].before.pixels[-1]
    return Figure(
        line_chart(lines, title=title, x_label="shift, in pixels", y_label="%"),
        alt=f"Curves of the share that keeps its class, from 1 pixel to {last}: {ends}.",
        caption=f"{_CAPTIONS[key]}, with 95 % intervals.",
        table=_table(items, key),
    )


def _table(items: Sequence[Measured], key: Key) -> Table:
    found = models(items)
    pixels = sorted({place for _, _, record in found for place in record.pixels})
    columns = [dict(zip(record.pixels, getattr(record, key), strict=True)) for _, _, record in found]
    rows = tuple((str(place), *(percent(column.get(place)) for column in columns)) for place in pixels)
    return Table(_CAPTIONS[key], ("pixels", *(name for _, name, _ in found)), rows)


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    return (
        f"{samples_note(items[0].after)} Images move up, down, left and right; the border is repeated.",
        "A model that always names one class is fully consistent: read consistency beside accuracy. Where accuracy "
        "fell by more than chance, more consistency counts as different, not as better.",
        "Standard errors count the four shifts of an image as one sample and the two models as independent, which is "
        "on the safe side.",
    )


section = Spec(
    VERDICT,
    title="Shifted images",
    about="Images are moved by a few pixels, which changes nothing of what they show. The more often the class "
    "stays, right or wrong, the more consistent the model.",
    figures=lambda items: (_figure(items, "same"), _figure(items, "stable")),
    notes=_notes,
)
