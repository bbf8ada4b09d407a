"""The loss around the models: along one random direction, and over a plane of two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from refconv.measures.numbers import number
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.landscape import VERDICT, with_record
from refconv.report.charts import Surface, contour_maps
from refconv.report.elements import Figure, Table
from refconv.report.sections.figures import Curve, curve_figure
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec

WIDE = 20.0
"""Ratio of the largest loss to the smallest from which on the axis is logarithmic."""


def _figures(items: Sequence[Measured]) -> list[Figure]:
    lines, surfaces = with_record(items, "landscape"), with_record(items, "surface")
    return [*([_line(lines)] if lines else []), *([_surfaces(surfaces)] if surfaces else [])]


def _line(items: Sequence[Measured]) -> Figure:
    found = models(items)
    curves = [Curve(name, role, _distances(items, role), side.losses) for role, name, side in found]
    losses = [loss for curve in curves for loss in curve.y if loss is not None]
    log = bool(losses) and min(losses) > 0 and max(losses) > WIDE * min(losses)
    title = "Loss along one random direction"
    ends = ", ".join(f"{name} {number(_middle(side.losses))}, at most {_most(side.losses)}" for _, name, side in found)
    return curve_figure(
        curves,
        title=title,
        x_label="distance, in norms of the filters",
        y_label=loss_label(items),
        y_log=log,
        head="distance",
        show=partial(number, digits=4),
        table=f"{loss_label(items)} by distance",
        behind=[("as it is, at 0", *(number(side.as_is, 4) for _, _, side in found))],
        alt=f"Curves of the loss against the distance from each model. Loss in the middle: {ends}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point{'; logarithmic axis' if log else ''}.",
    )


def _middle(losses: Sequence[float | None]) -> float | None:
    return losses[len(losses) // 2]


def _most(losses: Sequence[float | None]) -> str:
    known = [loss for loss in losses if loss is not None]
    return number(max(known)) if known else "nowhere finite"


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
    VERDICT,
    title="Loss landscape",
    about="Every filter of a model is moved in one random direction, by up to a multiple of its own norm, and the "
    "loss is taken on the way. A wider bowl is a smoother landscape; both models walk along the same directions.",
    figures=_figures,
    notes=_notes,
)
