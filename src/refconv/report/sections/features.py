"""Sections on what models compute: similarity of features, attention maps, the effective receptive field."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from refconv.measures.explanations import TITLES
from refconv.measures.numbers import count, number, percent, times
from refconv.measures.pairs import BEFORE, Measured, Role, models, role_names
from refconv.report.charts import Dots, Heat, Line, Photo, dot_chart, heat_maps, line_chart, photo_row
from refconv.report.elements import Figure, Items, Spec, Table
from refconv.report.sections.figures import axes, bar_figure, figure, model_rows, on_samples, pairs_said, said

ROWS = 24  #: Layers up to which each is a row of its own; more become a line


def _layers(items: Items) -> Figure:
    found = {item.role: {row.layer: row.cka for row in item.record.layers} for item in items}
    layers = list(dict.fromkeys(layer for values in found.values() for layer in values))
    title, names = "CKA per layer", role_names(items, before=False)
    if len(layers) <= ROWS:
        dots = [Dots(layer, {role: values.get(layer) for role, values in found.items()}) for layer in layers]
        drawing = dot_chart(dots, names, title=title, x_label="CKA")
    else:
        places = [float(place) for place in range(1, len(layers) + 1)]
        lines = [Line(names[role], role, places, list(map(values.get, layers))) for role, values in found.items()]
        drawing = line_chart(lines, title=title, x_label="layer, from the input to the output", y_label="CKA")
    return figure(
        drawing,
        alt=f"CKA of {count(len(layers), 'layer')} before with the same layer after. Mean: "
        f"{pairs_said(items, lambda record: number(record.mean))}.",
        caption=f"{title}, before with after, from the input to the output.",
        table=title,
        header=("layer", *names.values()),
        rows=((layer, *(number(values.get(layer)) for values in found.values())) for layer in layers),
    )


def _matrices(items: Items) -> Figure:
    values = [value for item in items for row in item.record.matrix for value in row if value is not None]
    heats = [Heat(item.name, item.record.matrix) for item in items]
    best = {item.name: _best(item.record) for item in items}
    own = ", ".join(f"{name}: {sum(row[0] == row[2] for row in rows)} of {len(rows)}" for name, rows in best.items())
    return figure(
        heat_maps(heats, unit="CKA", low=min([0.0, *values]), high=1.0, **axes("layer after", "layer before")),
        alt="Every layer before with every layer after. Layers whose most alike layer after is they themselves: "
        f"{own}.",
        caption="CKA of every layer before (rows) with every layer after (columns), both from the input to the output.",
        table="For each layer before the layer after that is most alike",
        header=("pair", "layer before", "CKA with itself after", "most alike after", "its CKA"),
        rows=((name, *row) for name, rows in best.items() for row in rows),
    )


def _best(record: Any) -> list[tuple[str, str, str, str]]:
    layers, rows = record.matrix_layers, []
    for place, (layer, row) in enumerate(zip(layers, record.matrix, strict=True)):
        known = [(value, column) for column, value in enumerate(row) if value is not None]
        if known:
            best, column = max(known)
            rows.append((layer, number(row[place]), layers[column], number(best)))
    return rows


def _similarity_notes(items: Items) -> Iterator[str]:
    first = items[0].record
    yield on_samples(first)
    yield "Values fall with depth in most pairs; two trainings of one recipe from one start are the yardstick."
    yield "A channel of large scale counts for more, so outputs of a convolution and of the norm behind it differ."
    yield "The matrix shows layers at even distances." if len(first.matrix_layers) < len(first.layers) else ""
    yield from (f"{layer} was not compared: {reason}." for layer, reason in first.left_out.items())


def _attention(items: Items) -> Iterator[Figure]:
    for place in dict.fromkeys(shown.place for item in items for shown in item.record.shown):
        yield _image(items, place)


def _image(items: Items, place: int) -> Figure:
    held = [(item, shown) for item in items for shown in item.record.shown if shown.place == place]
    first, shown = held[0]
    target = first.class_name(shown.target)
    sides = [(BEFORE, first, shown, "before"), *((item.name, item, one, "after") for item, one in held)]
    words = [_words(*side) for side in sides]
    maps = [(one, getattr(one, f"map_{side}")) for _, _, one, side in sides]
    photos = [_photo(text, *shown) for text, shown in zip(words, maps, strict=True)]
    title = f"Image {place}: {target}"
    return figure(
        photo_row([_photo(f"image: {target}", shown), *photos]),
        alt=f"An image of {target} with what each model looks at marked. {'; '.join(words)}.",
        caption=f"{title}. Marked is what speaks for this class; above it the class that the model names.",
        table=f"{title}, what the models say",
        header=("model", "says", "right", "confidence", "map like before"),
        rows=(_row(*side) for side in sides),
        option=("image", f"{place}: {target}"),
    )


def _photo(title: str, shown: Any, overlay: Sequence[Sequence[float]] | None = None) -> Photo:
    height, width, channels = shown.shape
    return Photo(title, base64.b64decode(shown.pixels), (height, width, channels), overlay)


def _words(name: str, item: Measured, shown: Any, side: str) -> str:
    return f"{name}: {item.class_name(getattr(shown, side))}, {percent(getattr(shown, f'confidence_{side}'), 0)}"


def _row(name: str, item: Measured, shown: Any, side: str) -> tuple[str, ...]:
    like = None if side == "before" else shown.correlation
    named = getattr(shown, side)
    right, confidence = "yes" if named == shown.target else "no", percent(getattr(shown, f"confidence_{side}"))
    return name, item.class_name(named), right, confidence, number(like)


def _attention_notes(items: Items) -> Iterator[str]:
    layers = dict.fromkeys(layer for item in items for layer in (item.record.layer_before, item.record.layer_after))
    of = f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"
    yield f"Maps are of the {of}, each divided by its largest value."
    yield "Where nothing speaks for the class, nothing is marked."
    yield "The images were chosen, not drawn at random: they illustrate, they do not measure."


def _field(items: Items) -> Figure:
    first = items[0].after
    solid = " Of three dimensions the middle plane of the first." if len(first.values_shape) == 3 else ""
    return figure(
        _field_drawing(items),
        alt=f"Influence of each pixel on the central unit. Radius of {percent(first.shares[-1], 0)} of the energy in "
        f"pixels: {said(items, lambda record: number(record.radii[-1]))}.",
        caption=f"Influence of each pixel on the central unit of {first.layer}, as a share of the largest.{solid}",
        table="Size of the receptive field, in pixels",
        header=("model", *(f"radius of {percent(share, 0)}" for share in items[0].before.shares), "side", "extent"),
        rows=model_rows(items, lambda record: (*map(number, (*record.radii, record.side)), times(record.extent))),
    )


def _field_drawing(items: Items) -> Markup:
    if len(items[0].before.values_shape) > 1:
        heats = [Heat(name, field_plane(record)) for _, name, record in models(items)]
        return heat_maps(heats, unit="share of the largest influence", low=0.0, high=1.0)
    lines = []
    for role, name, record in models(items):
        step = record.input_shape[0] / record.values_shape[0]
        lines.append(Line(name, role, [step * (place + 0.5) for place in range(len(record.values))], record.values))
    labels = axes("position, in samples", "share of the largest")
    return line_chart(lines, title="Influence on the central unit", **labels)


def field_plane(record: Any) -> list[list[float]]:
    """Return a field of two dimensions as rows; of three dimensions, the middle plane of the first."""
    *outer, height, width = record.values_shape
    start = outer[0] // 2 * height * width if outer else 0
    return [list(record.values[start + row * width : start + (row + 1) * width]) for row in range(height)]


def _field_notes(items: Items) -> Iterator[str]:
    record, sides = items[0].after, [side for item in items for side in item.sides]
    layers = sorted({side.layer for side in sides})
    pixels = math.prod(record.input_shape) / math.prod(record.values_shape)
    unit = ", ".join(map(str, record.unit))
    where = f"Unit {unit} of a map of {times(record.map_shape)}, input {times(record.input_shape)}."
    yield f"{on_samples(record)} {where}"
    yield "Side: root of the number of pixels above 4.55 % of the largest influence; extent: pixels with any influence."
    yield "The field of a deep network is near Gaussian and far smaller than its extent."
    yield "The record has no error; radii that change by at most 1 % count as the same."
    if any(extent >= size for side in sides for extent, size in zip(side.extent, side.input_shape, strict=True)):
        yield "The field reaches the border of the input, where radii are cut off."
    if len(layers) > 1:
        yield f"The models' last maps are of different layers: {', '.join(layers)}."
    yield f"A point of the picture is the mean of {number(pixels)} pixels." if pixels > 1 else ""


def _explanations(items: Items) -> Figure:
    first = items[0].record.maps
    values: dict[str, dict[Role, float | None]] = {TITLES[row.name]: {"before": row.gap.before} for row in first}
    for item in items:
        for row in item.record.maps:
            values[TITLES[row.name]][item.role] = row.gap.after
    ends = pairs_said(items, lambda record: number(record.maps[0].gap.after))
    title, names = "Insertion less deletion", role_names(items)
    rows = [
        (TITLES[row.name], BEFORE if place < 0 else items[place].name, *(number(getattr(of, side)) for of in areas))
        for place in range(-1, len(items))
        for row in items[max(place, 0)].record.maps
        for side in ["before" if place < 0 else "after"]
        for areas in [(row.insertion, row.deletion, row.gap)]
    ]
    return bar_figure(
        values, names, title=title, y_label="area",
        alt=f"Bars of insertion less deletion, for each kind of map and model. Grad-CAM: {ends}.",
        caption=f"{title}: the larger, the more faithful the map; random order is what no map has.",
        table=Table("Insertion and deletion scores", ("map", "model", "insertion", "deletion", "gap"), tuple(rows)),
    )  # fmt: skip


def _explanations_notes(items: Items) -> Iterator[str]:
    record = items[0].record
    layers = ", ".join(dict.fromkeys((record.layer_before, record.layer_after)))
    yield f"{on_samples(record)} Grad-CAM reads the maps of {layers}; pixels come and go in {record.steps} parts."
    yield "Blank pixels have the mean colour. A more confident model has larger areas: look at the gap."
    yield "Images with blank parts are unlike those that the model was trained on, which every such score suffers from."


SECTIONS = (
    Spec("similarity", lambda items: (_layers(items), _matrices(items)), _similarity_notes),
    Spec("attention", _attention, _attention_notes),
    Spec("explanations", lambda items: (_explanations(items),), _explanations_notes),
    Spec("receptive_field", lambda items: (_field(items),), _field_notes),
)
