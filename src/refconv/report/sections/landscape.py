"""The loss around the models: along one random direction, and over a plane of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import agreed
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured, models
from refconv.measures.rises import Rises, line_rises, surface_rises
from refconv.measures.support import REFCONV, claim
from refconv.measures.wording import compared
from refconv.report.charts import Line, Surface, contour_maps, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec
from refconv.sentences import capital

WIDE = 20.0
"""Ratio of the largest loss to the smallest from which on the axis is logarithmic."""

_WORDS: dict[Change, str] = {
    "better": "Around the later model the loss rises less at nearly every distance",
    "worse": "Around the later model the loss rises more at nearly every distance",
    "same": "The loss rises alike around both models",
    "unclear": "Whether the bowl is wider cannot be told: the loss rises neither less nor more at nearly all distances",
}

Rising = Callable[[Measured, Measured, str, str], Rises]


def _of(items: Sequence[Measured], name: str) -> list[Measured]:
    """Return the pairs that have a record of this name, with it."""
    return [Measured(item.role, item.pair, record) for item in items if (record := item.pair.record(name))]


def _kinds(items: Sequence[Measured]) -> list[tuple[tuple[Rising, str], list[Measured]]]:
    """Return how rises are read and where they are, with the pairs that have them: along a line, over a plane."""
    return [
        ((line_rises, "along one random direction"), _of(items, "landscape")),
        ((surface_rises, "over a plane of two directions"), _of(items, "surface")),
    ]


def _agreed(first: Measured, second: Measured, side: str) -> Change:
    """Return what line and plane together say of the second pair's result beside one side of the first."""
    both = [(rising, held) for (rising, _), held in _kinds([first, second]) if len(held) == 2]
    return agreed([rising(held[0], held[1], side, "after").judged for rising, held in both]) if both else "unclear"


def _figures(items: Sequence[Measured]) -> list[Figure]:
    lines, surfaces = _of(items, "landscape"), _of(items, "surface")
    return [*([_line(lines)] if lines else []), *([_surfaces(surfaces)] if surfaces else [])]


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


def _line(items: Sequence[Measured]) -> Figure:
    found = models(items)
    distances = items[0].record.distances
    lines = [Line("before", "before", distances, items[0].before.losses)]
    lines += [Line(item.name, item.role, item.record.distances, item.after.losses) for item in items]
    losses = [loss for line in lines for loss in line.y if loss is not None]
    log = bool(losses) and min(losses) > 0 and max(losses) > WIDE * min(losses)
    title = "Loss along one random direction"
    drawing = line_chart(
        lines, title=title, x_label="distance, in norms of the filters", y_label=loss_label(items), y_log=log
    )
    ends = ", ".join(f"{name} {number(_middle(side.losses))}, at most {_most(side.losses)}" for _, name, side in found)
    return Figure(
        drawing,
        alt=f"Curves of the loss against the distance from each model. Loss in the middle: {ends}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point{'; logarithmic axis' if log else ''}.",
        table=_line_table(items),
    )


def _middle(losses: Sequence[float | None]) -> float | None:
    return losses[len(losses) // 2]


def _most(losses: Sequence[float | None]) -> str:
    known = [loss for loss in losses if loss is not None]
    return number(max(known)) if known else "nowhere finite"


def _line_table(items: Sequence[Measured]) -> Table:
    columns = [dict(zip(items[0].record.distances, items[0].before.losses, strict=True))]
    columns += [dict(zip(item.record.distances, item.after.losses, strict=True)) for item in items]
    distances = sorted({distance for column in columns for distance in column})
    rows = [(number(distance), *(number(column.get(distance), 4) for column in columns)) for distance in distances]
    rows.append(("as it is, at 0", *(number(side.as_is, 4) for _, _, side in models(items))))
    return Table(f"{loss_label(items)} by distance", ("distance", *(n for _, n, _ in models(items))), tuple(rows))


def _surfaces(items: Sequence[Measured]) -> Figure:
    grids = [(name, _distances(items, role), side.losses) for role, name, side in models(items)]
    surfaces = [Surface(name, distances, distances, losses) for name, distances, losses in grids]
    drawing = contour_maps(
        surfaces, unit=loss_label(items), x_label="along the second direction", y_label="along the first direction"
    )
    rows = tuple(
        (name, number(distance), *(number(loss) for loss in row))
        for name, distances, losses in grids
        for distance, row in zip(distances, losses, strict=True)
    )
    tops = ", ".join(f"{name} {_most([loss for row in losses for loss in row])}" for name, _, losses in grids)
    return Figure(
        drawing,
        alt=f"Contours of the loss over a plane around each model. Largest loss on it: {tops}.",
        caption="Loss over the plane of two random directions, in norms of the filters; the same levels in all. Wider "
        "rings are a smoother landscape.",
        table=Table(
            f"{loss_label(items)} over the plane; columns are distances along the second direction",
            ("model", "along the first", *(number(distance) for distance in items[0].record.distances)),
            rows,
        )
        if len({len(distances) for _, distances, _ in grids}) == 1
        else None,
    )


def _distances(items: Sequence[Measured], role: object) -> list[float]:
    found = next((item for item in items if item.role == role), items[0])
    return list(found.record.distances)


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    kinds = ("landscape", "surface")
    without = [f"{item.name} has no record {name}." for item in items for name in kinds if not item.pair.record(name)]
    return (
        *conditions_note(items),
        "Rises are counted from the recalibrated loss in the middle. Less at 95 % of the points or more counts as "
        "better, at 5 % or fewer as worse, anything between as unclear.",
        "One direction, or two, is an anecdote: sharpness averages over several. A sharper loss may just be a larger "
        "one.",
        "A middle far from the loss as it is says that the model's statistics are not those of the calibration data.",
        *without,
    )


section = Spec(
    name="landscape",
    title="Loss landscape",
    about="Every filter of a model is moved in one random direction, by up to a multiple of its own norm, and the "
    "loss is taken on the way. A wider bowl is a smoother landscape; both models walk along the same directions.",
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
    figures=_figures,
    more=("surface",),
    notes=_notes,
)
