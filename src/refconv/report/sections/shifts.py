"""How often a class survives when the image moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, agreed, share_error, share_interval
from refconv.measures.numbers import count, percent, points
from refconv.measures.pairs import Measured, models
from refconv.measures.wording import SURENESS, compared, course
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

Key = Literal["same", "stable"]

_CAPTIONS: dict[Key, str] = {
    "same": "Share of shifts that keep the class, over images and the four directions",
    "stable": "Share of images that keep their class under all shifts up to that distance",
}


def consistency(first: Any, second: Any) -> tuple[int, Difference]:
    """Return the largest distance that both records have, and how consistency differs there.

    The four shifts of an image count as one sample, which is on the safe side.
    """
    pixels = max(set(first.pixels) & set(second.pixels))
    return pixels, _difference((first, second), [_at(record, "same", pixels) for record in (first, second)])


def _at(record: Any, key: str, pixels: int) -> float:
    return float(getattr(record, key)[record.pixels.index(pixels)])


def _difference(records: Sequence[Any], shares: Sequence[float]) -> Difference:
    errors = (share_error(share, record.samples) for share, record in zip(shares, records, strict=True))
    return Difference(shares[1] - shares[0], math.hypot(*errors))


def judged(first: Any, second: Any) -> Change:
    """Return whether the second model is more consistent; if it is less accurate, that is only different."""
    change = consistency(first, second)[1].judged()
    accuracy = _difference((first, second), [record.clean_accuracy for record in (first, second)])
    return "different" if change == "better" and accuracy.judged() == "worse" else change


def _keeps(item: Measured) -> Finding:
    pixels, found = consistency(item.before, item.after)
    shares = [_at(side, "same", pixels) for side in (item.before, item.after)]
    text = (
        f"The share of shifts by {count(pixels, 'pixel')} that keep the class {course(percent, *shares)} "
        f"({points(found.value)} points, standard error {points(found.error).lstrip('+')}: {SURENESS[found.judged()]})."
    )
    return Finding(item.name, text, judged(item.before, item.after), found.p)


def _accuracy(item: Measured) -> Finding:
    sides = (item.before, item.after)
    pixels, _ = consistency(*sides)
    still, moved = [side.clean_accuracy for side in sides], [_at(side, "accuracy", pixels) for side in sides]
    text = (
        f"Accuracy on images in place {course(percent, *still)}, on images shifted by {count(pixels, 'pixel')} it "
        f"{course(percent, *moved)}."
    )
    return Finding(item.name, text, agreed([_difference(sides, shares).judged() for shares in (still, moved)]))


def _contrast(subject: Measured, reference: Measured) -> Finding:
    pixels, found = consistency(reference.after, subject.after)
    shares = [_at(item.after, "same", pixels) for item in (subject, reference)]
    text = (
        f"With {subject.name} the share of shifts by {count(pixels, 'pixel')} that keep the class is "
        f"{compared(percent, reference.name, *shares)} ({SURENESS[found.judged()]})."
    )
    return Finding(subject.name, text, judged(reference.after, subject.after), found.p)


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
    name="shifts",
    title="Shifted images",
    about="Images are moved by a few pixels, which changes nothing of what they show. The more often the class "
    "stays, right or wrong, the more consistent the model.",
    findings=lambda item: (_keeps(item), _accuracy(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    figures=lambda items: (_figure(items, "same"), _figure(items, "stable")),
    notes=_notes,
)
