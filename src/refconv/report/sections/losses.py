"""Sections on the loss: between the two models, around them, how sharply it rises, and how it curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from refconv.measures.judging import student
from refconv.measures.landscape import with_record
from refconv.measures.numbers import count, fine_number, number
from refconv.measures.pairs import Role, models, role_names
from refconv.report.charts import Surface, contour_maps
from refconv.report.elements import Figure, Items, Spec, Table
from refconv.report.sections.figures import (
    Curve,
    axes,
    bar_figure,
    by_role,
    curve_figure,
    dot_figure,
    of_more,
    on_samples,
    pairs_said,
    said,
)


def _loss(items: Items) -> str:
    """Return the name of the loss, with its unit where that is known."""
    tasks = {item.pair.facts.task for item in items}
    return "loss (cross-entropy, nats)" if tasks == {"classification"} else "loss"


def _conditions_notes(items: Items) -> list[str]:
    """Return what losses were measured on, once where it is the same for all pairs."""
    notes = [_conditions(item.record.conditions) for item in items]
    if len(set(notes)) == 1:
        return notes[:1]
    return [f"{item.name}: {note}" for item, note in zip(items, notes, strict=True)]


def _conditions(found: Any) -> str:
    text = f"Loss over {count(found.samples, 'sample')}{of_more(found.cut)}."
    if not found.norms:
        return f"{text} The models have no batch normalisation to recalibrate."
    where = f"{count(found.calibration_samples, 'sample')}{of_more(found.calibration_cut)}"
    norms = count(found.norms, "batch-norm layer")
    return f"{text} Recalibrated: the statistics of {norms} were collected anew at every point, on {where}."


def _between(items: Items) -> Figure:
    title = "Loss between before and after"
    barriers = pairs_said(items, lambda record: number(record.barrier))
    return curve_figure(
        [Curve(item.name, item.role, item.record.shares, item.record.losses) for item in items], title=title,
        **axes("share of after", _loss(items)), head="share of after", show=fine_number,
        table=_loss(items),
        before=[("before, as it is", *(fine_number(item.before) for item in items))],
        behind=[("after, as it is", *(fine_number(item.after) for item in items))],
        alt=f"Loss against the share of after, from 0 (before) to 1 (after). Barrier: {barriers}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point.",
    )  # fmt: skip


def _between_notes(items: Items) -> Iterator[str]:
    yield from _conditions_notes(items)
    yield "Barrier: how far the loss rises above the straight line between the losses of the two ends, at most."
    yield "Up to 2 % of the larger of them counts as none."
    yield "The losses of the sentences are those of the models as they are; the ends of the line are recalibrated."


_WIDE = 20.0  #: Ratio of the largest loss to the smallest from which on the axis is logarithmic


def _landscape(items: Items) -> Iterator[Figure]:
    if lines := with_record(items, "landscape"):
        yield _line(lines)
    if surfaces := with_record(items, "surface"):
        yield _surfaces(surfaces)


def _line(items: Items) -> Figure:
    curves = [Curve(name, role, _distances(items, role), side.losses) for role, name, side in models(items)]
    losses = [loss for curve in curves for loss in curve.y if loss is not None]
    log = bool(losses) and min(losses) > 0 and max(losses) > _WIDE * min(losses)
    title = "Loss along one random direction"
    ends = said(items, lambda side: f"{number(side.losses[len(side.losses) // 2])}, at most {_most(side.losses)}")
    return curve_figure(
        curves, title=title, **axes("distance, in norms of the filters", _loss(items)), y_log=log, head="distance",
        show=fine_number,
        table=f"{_loss(items)} by distance",
        behind=[("as it is, at 0", *by_role(items, lambda side: fine_number(side.as_is)).values())],
        alt=f"Curves of the loss against the distance from each model. Loss in the middle: {ends}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point{'; logarithmic axis' if log else ''}.",
    )  # fmt: skip


def _most(losses: Sequence[float | None]) -> str:
    known = [loss for loss in losses if loss is not None]
    return number(max(known)) if known else "nowhere finite"


def _surfaces(items: Items) -> Figure:
    grids = [(name, _distances(items, role), side.losses) for role, name, side in models(items)]
    surfaces = [Surface(name, distances, distances, losses) for name, distances, losses in grids]
    rows = (
        (name, number(distance), *map(number, row))
        for name, distances, losses in grids
        for distance, row in zip(distances, losses, strict=True)
    )
    tops = said(items, lambda side: _most([loss for row in side.losses for loss in row]))
    text = f"{_loss(items)} over the plane; columns are distances along the second direction"
    header = ("model", "along the first", *map(number, items[0].record.distances))
    alike = len({len(distances) for _, distances, _ in grids}) == 1
    return Figure(
        contour_maps(surfaces, unit=_loss(items), **axes("along the second direction", "along the first direction")),
        alt=f"Contours of the loss over a plane around each model. Largest loss on it: {tops}.",
        caption="Loss over the plane of two random directions, in norms of the filters; the same levels in all. Wider "
        "rings are a smoother landscape.",
        table=Table(text, header, tuple(rows)) if alike else None,
    )


def _distances(items: Items, role: Role) -> list[float]:
    found = next((item for item in items if item.role == role), items[0])
    return list(found.record.distances)


def _landscape_notes(items: Items) -> Iterator[str]:
    yield from _conditions_notes(items)
    yield "Rises are counted from the recalibrated loss in the middle."
    yield "Less at 95 % of the points or more counts as better, at 5 % or fewer as worse, anything between as unclear."
    yield "One direction, or two, is an anecdote: sharpness averages over several."
    yield "A sharper loss may just be a larger one."
    yield "A middle far from the loss as it is says that the model's statistics are not those of the calibration data."
    for item in items:
        for name in ("landscape", "surface"):
            if not item.pair.record(name):
                yield f"{item.name} has no record {name}."


def _rises(items: Items) -> Figure:
    rows = [
        (name, number(rise.mean), number(rise.error, 2), number(rise.deviation, 2), *map(fine_number, losses))
        for name, rise, losses in ((name, side.rise, (side.as_is, side.centre)) for _, name, side in models(items))
    ]
    header = ("model", "mean rise", "standard error", "standard deviation", "loss as it is", "loss recalibrated")
    return bar_figure(
        {"mean rise": by_role(items, lambda side: side.rise.mean)}, role_names(items), title="Mean rise of the loss",
        y_label=f"rise of the {_loss(items)}", errors={"mean rise": by_role(items, lambda side: _reach(side.rise))},
        alt=f"Bars of the mean rise of the loss: {said(items, lambda side: _with(side.rise.mean, side.rise.error))}.",
        caption="Mean rise of the loss over random directions with its 95 % interval. The models share their "
        "directions, so that differences are surer than the bars.",
        table=Table("Sharpness in numbers", header, tuple(rows)),
    )  # fmt: skip


def _reach(spread: Any) -> float:
    """Return half the length of the 95 % interval of a mean."""
    return student(len(spread.values)) * float(spread.error)


def _directions(items: Items) -> Figure:
    values: dict[Role, Sequence[float]] = by_role(items, lambda side: side.rise.values)
    most = max(map(len, values.values()))
    rises = {item.name: item.record.difference.values for item in items}
    lower = ", ".join(f"{name} in {sum(rise < 0 for rise in found)} of {len(found)}" for name, found in rises.items())
    title = "Rise of the loss by direction"
    return dot_figure(
        {str(place + 1): {role: _at(one, place) for role, one in values.items()} for place in range(most)},
        role_names(items), title=title, x_label=f"rise of the {_loss(items)}", head="direction", show=number,
        alt=f"Dots of the rise of the loss along each random direction. It is lower after: {lower}.",
        caption=f"{title}: a row per random direction, shared by the models.",
    )  # fmt: skip


def _sharpness_notes(items: Items) -> Iterator[str]:
    yield from _conditions_notes(items)
    yield "± is one standard error over directions; it does not tell of other samples or other trainings."
    yield "A sharper loss may just be a larger one: read the rise beside the loss itself."


_NEGATIVE = 0.05  #: Share of the largest eigenvalue below minus which the smallest one counts as clearly negative


def _eigenvalues(items: Items) -> Figure:
    found, title = models(items), "Eigenvalues of the Hessian"
    places = {f"eigenvalue {at + 1}": at for at in range(max(len(side.eigenvalues) for _, _, side in found))}
    bars = {name: {role: _at(side.eigenvalues, at) for role, _, side in found} for name, at in places.items()}
    errors = {name: {role: _at(side.errors, at) for role, _, side in found} for name, at in places.items()}
    bars["smallest seen"] = by_role(items, lambda side: side.smallest)
    errors["smallest seen"] = by_role(items, lambda side: side.smallest_error)
    rows = [(name, *(_with(of[role], errors[name][role]) for role in of)) for name, of in bars.items()]
    rows.append(("loss", *(fine_number(side.loss) for _, _, side in found)))
    return bar_figure(
        bars, role_names(items), title=title, y_label=_curvature(items), errors=errors,
        alt=f"Bars of eigenvalues of the Hessian. The largest: {said(items, lambda s: number(s.eigenvalues[0]))}.",
        caption=f"{title}, each within its error bar of a true one.",
        table=Table(title, ("", *role_names(items).values()), tuple(rows)),
    )  # fmt: skip


def _traces(items: Items) -> Iterator[Figure]:
    found = {role: (name, side.trace) for role, name, side in models(items) if side.trace is not None}
    if not found:
        return
    rows = tuple((name, number(one.mean), number(one.error, 2), str(len(one.values))) for name, one in found.values())
    title = "Trace of the Hessian"
    yield bar_figure(
        {"trace": {role: trace.mean for role, (_, trace) in found.items()}},
        {role: name for role, (name, _) in found.items()}, title=title, y_label=_curvature(items),
        errors={"trace": {role: _reach(trace) for role, (_, trace) in found.items()}},
        alt=f"Bars of the trace of the Hessian: "
        f"{', '.join(f'{name} {_with(trace.mean, trace.error)}' for name, trace in found.values())}.",
        caption=f"{title}, estimated, with its 95 % interval over random vectors. Models of one seed "
        "share the vectors, so that differences are surer than the bars.",
        table=Table(title, ("model", "trace", "standard error", "random vectors"), rows),
    )  # fmt: skip


def _at(values: Sequence[float], place: int) -> float | None:
    return values[place] if place < len(values) else None


def _with(value: float | None, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} ± {number(error, 2)}"


def _curvature(items: Items) -> str:
    return f"curvature, in units of {items[0].before.units}"


def _curvature_notes(items: Items) -> Iterator[str]:
    found = models(items)
    first = found[0][2]
    units = {side.units for _, _, side in found}
    loose = [name for _, name, side in found if not side.converged]
    steep = [
        f"{name} ({number(side.smallest)})"
        for _, name, side in found
        if side.smallest + side.smallest_error < -_NEGATIVE * abs(side.eigenvalues[0])
    ]
    yield f"{on_samples(first)} Hessian of the loss of each model as it is, over {count(first.dimension, 'weight')}."
    yield "Errors of eigenvalues are those of the computation on these samples."
    yield "How much other samples would change them is not known, so changes of up to 10 % count as unclear."
    if "filters" in units:
        yield "In units of filters: rescaling a filter before a normalisation changes nothing."
    if "weights" in units:
        yield "In units of weights: larger weights before a normalisation flatten the Hessian and change nothing else."
    yield f"Not converged, eigenvalues may be larger: {', '.join(loose)}." if loose else ""
    if steep:
        yield f"Clearly negative curvature, so no minimum of this loss on these samples: {', '.join(steep)}."


SECTIONS = (
    Spec("interpolation", lambda items: (_between(items),), _between_notes),
    Spec("landscape", _landscape, _landscape_notes),
    Spec("sharpness", lambda items: (_rises(items), _directions(items)), _sharpness_notes),
    Spec("curvature", lambda items: (_eigenvalues(items), *_traces(items)), _curvature_notes),
)
