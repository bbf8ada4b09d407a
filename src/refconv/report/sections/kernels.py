"""Sections that draw kernels: their skeletons, their principal components, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from statistics import median
from typing import Any

import numpy as np
from markupsafe import Markup

from refconv.measures.kernels import BEYOND, LEADING, RATIO, difference, drawable, length_of, of_size, plane, relative
from refconv.measures.layers import RULE, Quantity, kinds, rows_of
from refconv.measures.numbers import count, number, percent, times
from refconv.measures.pairs import BEFORE, Measured, Role
from refconv.report.charts import Guide, Heat, Line, Sheet, heat_maps, kernel_sheets, line_chart
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import axes, figure, layer_figure, pictured_note, spread

_SHARE = Quantity("share of magnitude on the cross", "cross_share", show=percent)


def _sizes(items: Items) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(tuple(row.kernel_size) for item in items for row in item.record.sizes))


def _rows_of_size(items: Items, size: tuple[int, ...]) -> list[tuple[Measured, Any]]:
    return [(item, row) for item in items if (row := of_size(item, size)) is not None]


def _skeletons(items: Items) -> Iterator[Figure]:
    yield from (_skeleton(items, size) for size in _sizes(items) if drawable(size))
    ratio = "Mean magnitude on the cross over that in the corners; 1 is a flat kernel."
    yield layer_figure(items, RATIO, ratio, guides=(Guide("x", 1, "flat"),))
    share = "Share of a layer's whole magnitude that lies on the cross; a flat kernel of 3 × 3 has 55.6 %."
    yield layer_figure(items, _SHARE, share)


def _skeleton(items: Items, size: tuple[int, ...]) -> Figure:
    """Return where the magnitude lies, per model, and below what changed."""
    found = _rows_of_size(items, size)
    sides = [(BEFORE, found[0][1].before), *((item.name, row.after) for item, row in found)]
    levels = [Heat(name, plane(side.magnitudes, size)) for name, side in sides]
    changes = [
        Heat(f"{item.name} − {BEFORE}", plane(_less(row.after.magnitudes, row.before.magnitudes), size))
        for item, row in found
    ]
    above = heat_maps(levels, unit="relative magnitude", low=0)
    below = heat_maps(changes, unit="change of relative magnitude", diverging=True)
    ratios = ", ".join(f"{name} {number(side.ratio)}" for name, side in sides)
    layers = f"{count(found[0][1].layers, 'layer')} of {times(size)} taps"
    return figure(
        above + below,
        alt=f"Mean magnitude of every tap in {layers}, a map per model, and what changed. Ratio of cross to corners: "
        f"{ratios}.",
        caption=f"Mean magnitude per tap, the largest of each layer set to 1, over {layers}; below, what changed "
        f"since {BEFORE}.",
        table=f"Skeleton of {times(size)} kernels",
        header=("model", "cross", "corners", "ratio", "share on the cross"),
        rows=(
            (name, number(side.cross), number(side.corners), number(side.ratio), percent(side.cross_share))
            for name, side in sides
        ),
        option=("kernel size", times(size)),
    )


def _less(after: Sequence[float], before: Sequence[float]) -> list[float]:
    return [last - first for first, last in zip(before, after, strict=True)]


def _skeleton_notes(items: Items) -> Iterator[str]:
    rows = [row for item in items for row in item.record.layers]
    zeros = sorted({row.layer for row in rows if row.before is None or row.after is None})
    sides = [side for row in rows for side in (row.before, row.after) if side is not None]
    yield RULE
    if any(side.ratio is None for side in sides):
        yield "The ratio is not defined where a kernel has no corners, such as 2 × 2, or where they are zero."
    else:
        yield "Magnitudes are means over the slices of a layer; each layer counts once."
    yield f"All zero in one of the models: {', '.join(zeros)}." if zeros else ""
    yield "Kernels of three dimensions are counted but not drawn." if not all(map(drawable, _sizes(items))) else ""


def _components(items: Items, size: tuple[int, ...]) -> Figure:
    """Return the explained variances as lines, and the patterns as kernels."""
    found = _rows_of_size(items, size)
    before = found[0][1].explained_before
    places = [float(place) for place in range(1, len(before) + 1)]
    # what is zero to rounding would stretch a logarithmic axis
    shares: list[tuple[str, Role, Sequence[float]]]
    shares = [(BEFORE, "before", before), *((item.name, item.role, row.explained_after) for item, row in found)]
    lines = [Line(name, role, places, [share if share > 1e-9 else None for share in of]) for name, role, of in shares]
    labels = axes("principal component", "share of the variance")
    drawing = line_chart(lines, title="Explained variance", y_log=True, **labels)
    sheets = kernel_sheets([_sheet(item, row, size) for item, row in found]) if drawable(size) else Markup("")
    below = "; below, the components that a pair shares, the largest first" if sheets else ""
    leading = ", ".join(f"{line.name} {percent(sum(value or 0 for value in line.y[:LEADING]))}" for line in lines)
    shifts = ", ".join(f"{item.name} {number(row.shift)} (chance {number(row.chance)})" for item, row in found)
    columns = [*(f"variance {name}" for name, *_ in shares), *(f"shift {item.name} (nats)" for item, _ in found)]
    shifted = [row.shift_of_components for _, row in found]
    return figure(
        drawing + sheets,
        alt=f"Explained variance of the principal components of {times(size)} kernels, a line per model. The first "
        f"{LEADING} together: {leading}. Shift from the start in nats: {shifts}.",
        caption=f"Explained variance of each model's own components of {times(size)} kernels{below}.",
        table=f"Explained variance and shift per component of {times(size)} kernels",
        header=("component", *columns),
        rows=(
            (str(at + 1), *(percent(of[at]) for _, _, of in shares), *(number(of[at]) for of in shifted))
            for at in range(len(before))
        ),
        option=("kernel size", times(size)),
    )


def _sheet(item: Measured, row: Any, size: tuple[int, ...]) -> Sheet:
    kernels = [plane(component, size) for component in row.components]
    names = [f"component {place + 1}, {percent(row.explained[place])}" for place in range(len(kernels))]
    return Sheet(f"{BEFORE} and {item.name}", kernels, names)


def _components_notes(items: Items) -> Iterator[str]:
    rows = [row for item in items for row in item.record.sizes]
    cut = {times(row.kernel_size): row for row in rows if row.sampled < row.slices}
    yield f"A shift counts from {number(BEYOND)} times that by chance on."
    yield "Chance is the same shift after slices drawn at random were exchanged between before and after."
    yield "With few slices, histograms differ a lot for no reason."
    yield "Explained variance that gathers in the first components says that slices became more alike."
    for size, row in cut.items():
        yield f"Of the {size} kernels {row.sampled:,} of {row.slices:,} slices were used."
    yield "Components of kernels of three dimensions are not drawn." if not all(map(drawable, _sizes(items))) else ""


_MOST, _FEWEST, _TAPS = 64, 16, 3000
"""Kernels of a sheet, at most and at least, and taps on all sheets of a layer: large kernels or many pairs should not
make a large page."""


def _drawable(items: Items) -> list[str]:
    return [layer for layer in kinds(items) if drawable(rows_of(items, layer)[0][1].kernel_size)]


def _pictures(items: Items, layer: str) -> Figure:
    found = rows_of(items, layer)
    first = found[0][1]
    size = first.kernel_size
    shown = min(len(first.chosen), max(_FEWEST, min(_MOST, _TAPS // (prod(size) * (1 + 2 * len(found))))))
    kept = spread(range(len(first.chosen)), shown)
    levels = [(BEFORE, first, first.before), *((item.name, row, row.after) for item, row in found)]
    changes = [(f"{item.name} − {BEFORE}", row, difference(row)) for item, row in found]
    sheets = [
        [
            Sheet(name, [plane(kernels[at], size) for at in kept], [f"slice {row.chosen[at]}" for at in kept])
            for name, row, kernels in states
        ]
        for states in (levels, changes)
    ]
    moved = ", ".join(f"{item.name} {percent(relative(row))}" for item, row in found)
    return figure(
        Markup("").join(map(kernel_sheets, sheets)),
        alt=f"{count(shown, 'kernel')} of {layer}, {times(size)} taps, {BEFORE} and after, and the differences. Length "
        f"of the difference over that of the start: {moved}.",
        caption=f"{shown} of {count(first.slices, 'kernel')} of {layer} ({first.kind}, {times(size)}), each in "
        "the same place on every sheet; the differences have a scale of their own.",
        table=f"Taps of the chosen kernels of {layer}",
        header=("kernels", "smallest tap", "median tap", "largest tap", "root mean square"),
        rows=((name, *_taps(kernels)) for name, _, kernels in [*levels, *changes]),
        option=("layer", layer),
    )


_FREQUENCIES = 33  #: At which the spectra of one-dimensional kernels are drawn, from 0 to half the sampling rate


def _spectra(items: Items, layer: str) -> Figure:
    """Return the mean amplitude over the chosen kernels of one dimension, at every frequency."""
    found = rows_of(items, layer)
    first = found[0][1]
    at = [place / (2 * (_FREQUENCIES - 1)) for place in range(_FREQUENCIES)]
    sides: list[tuple[str, Role, Sequence[Sequence[float]]]]
    sides = [(BEFORE, "before", first.before), *((item.name, item.role, row.after) for item, row in found)]
    levels = [(name, role, amplitudes(kernels)) for name, role, kernels in sides]
    lines = [Line(name, role, at, level) for name, role, level in levels]
    labels = axes("frequency, cycles per sample", "mean amplitude")
    peaks = ", ".join(f"{name} {number(at[level.index(max(level))])}" for name, _, level in levels)
    return figure(
        line_chart(lines, title=f"Spectrum of {layer}", **labels),
        alt=f"Mean amplitude of {count(len(first.chosen), 'kernel')} of {layer} over the frequency, a line per model. "
        f"Largest at: {peaks}.",
        caption=f"Mean amplitude of the Fourier transform of {len(first.chosen)} of {count(first.slices, 'kernel')} of "
        f"{layer} ({first.kind}, {times(first.kernel_size)} taps), from 0 to half the sampling rate.",
        table=f"Mean amplitude of {layer} by frequency",
        header=("cycles per sample", *(name for name, *_ in levels)),
        rows=((number(at[i]), *(number(level[i]) for _, _, level in levels)) for i in range(0, _FREQUENCIES, 4)),
        option=("spectrum of layer", layer),
    )


def amplitudes(kernels: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of |sum over taps of w[t] exp(-2 pi i f t)| over kernels, for f from 0 to 1/2."""
    taps = np.asarray(kernels, dtype=float)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(taps.shape[1]), np.linspace(0, 0.5, _FREQUENCIES)))
    return [float(value) for value in np.abs(taps @ waves).mean(axis=0)]


def _drawings(items: Items) -> Iterator[Figure]:
    yield from (_pictures(items, layer) for layer in spread(_drawable(items)))
    signals = [layer for layer in _drawable(items) if len(rows_of(items, layer)[0][1].kernel_size) == 1]
    yield from (_spectra(items, layer) for layer in spread(signals))


def _taps(kernels: Sequence[Sequence[float]]) -> Iterator[str]:
    taps = [tap for kernel in kernels for tap in kernel]
    return map(number, (min(taps), median(taps), max(taps), length_of(kernels) / len(taps) ** 0.5))


def _pictures_notes(items: Items) -> Iterator[str]:
    record, possible = items[0].record, len(_drawable(items))
    solid = len(record.layers) - possible
    yield "A picture supports nothing by itself: the measures above look at all kernels, or say at how many."
    if any(len(row.chosen) < row.slices for row in record.layers):
        yield f"Of a layer at most {record.shown} kernels are chosen, drawn with a seed."
    if solid > 0:
        yield f"{count(solid, 'layer')} with kernels of three dimensions cannot be drawn."
    yield pictured_note(possible, "sheet")


SECTIONS = (
    Spec("skeleton", _skeletons, _skeleton_notes),
    Spec("components", lambda items: (_components(items, size) for size in _sizes(items)), _components_notes),
    Spec("kernels", _drawings, _pictures_notes),
)
