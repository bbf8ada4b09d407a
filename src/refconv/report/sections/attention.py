"""Where the models look, on a few chosen images."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.wording import compared
from refconv.report.charts import Photo, photo_row
from refconv.report.elements import Figure, Table
from refconv.report.sections.spec import Spec

ALIKE = 0.95
"""Correlation from which on two maps count as the same."""

CLOSE = 0.01
"""Difference of mean correlations up to which two pairs count as the same."""

Map = Sequence[Sequence[float]]


def correlation(one: Map, other: Map) -> float | None:
    """Return how alike two maps are, -1 to 1; None if one of them is constant or their sizes differ.

    Example:
        >>> round(correlation([[0.0, 1.0]], [[0.2, 0.4]]), 6), correlation([[1.0, 1.0]], [[0.0, 1.0]])
        (1.0, None)
    """
    if [len(row) for row in one] != [len(row) for row in other]:
        return None
    first, second = (_centred([value for row in values for value in row]) for values in (one, other))
    norm = math.sqrt(math.fsum(a * a for a in first) * math.fsum(b * b for b in second))
    return math.fsum(a * b for a, b in zip(first, second, strict=True)) / norm if norm > 0 else None


def _centred(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values] if max(values) > min(values) else [0.0] * len(values)


def _correlations(item: Measured) -> list[float]:
    found = (correlation(shown.map_before, shown.map_after) for shown in item.record.shown)
    return [value for value in found if value is not None]


def _alike(item: Measured) -> Finding:
    values, images = _correlations(item), count(len(item.record.shown), "chosen image")
    if not values:
        return Finding(item.name, f"On {images} there are no two maps that can be compared.", "unclear")
    change: Change = "same" if min(values) >= ALIKE else "different"
    if len(values) == 1:
        text = f"On {count(1, 'chosen image')} with two maps these correlate with {number(values[0])}."
        return Finding(item.name, text, change)
    mean = math.fsum(values) / len(values)
    text = (
        f"On {count(len(values), 'chosen image')} the maps before and after correlate with {number(mean)} on average, "
        f"between {number(min(values))} and {number(max(values))}."
    )
    return Finding(item.name, text, change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = _correlations(subject), _correlations(reference)
    if not mine or not theirs:
        text = f"The maps of {subject.name} and {reference.name} cannot be compared: one of them has none."
        return Finding(subject.name, text, "unclear")
    means = [math.fsum(values) / len(values) for values in (mine, theirs)]
    images = [{shown.place for shown in item.record.shown} for item in (subject, reference)]
    where = "the same images" if images[0] == images[1] else "images chosen for each pair"
    words = compared(number, reference.name, *means)
    text = f"With the start the maps of {subject.name} correlate with {words}, on {where}."
    return Finding(subject.name, text, "same" if abs(means[0] - means[1]) <= CLOSE else "different")


def _places(items: Sequence[Measured]) -> list[int]:
    return list(dict.fromkeys(shown.place for item in items for shown in item.record.shown))


def _figure(items: Sequence[Measured], place: int) -> Figure:
    held = [(item, shown) for item in items for shown in item.record.shown if shown.place == place]
    first, shown = held[0]
    target = first.class_name(shown.target)
    photos = [_photo(f"image: {target}", shown)]
    photos.append(_photo(_said(BEFORE, first, shown, "before"), shown, shown.map_before))
    photos += [_photo(_said(item.name, item, one, "after"), one, one.map_after) for item, one in held]
    said = [_said(BEFORE, first, shown, "before"), *(_said(item.name, item, one, "after") for item, one in held)]
    rows = [_row(BEFORE, first, shown, "before"), *(_row(item.name, item, one, "after") for item, one in held)]
    title = f"Image {place}: {target}"
    return Figure(
        photo_row(photos),
        alt=f"An image of {target} with what each model looks at marked. {'; '.join(said)}.",
        caption=f"{title}. Marked is what speaks for this class; above it the class that the model names.",
        table=Table(
            f"{title}, what the models say", ("model", "says", "right", "confidence", "map like before"), tuple(rows)
        ),
        choice="image",
        option=f"{place}: {target}",
    )


def _photo(title: str, shown: Any, overlay: Map | None = None) -> Photo:
    height, width, channels = shown.shape
    return Photo(title, base64.b64decode(shown.pixels), (height, width, channels), overlay)


def _said(name: str, item: Measured, shown: Any, side: str) -> str:
    return f"{name}: {item.class_name(getattr(shown, side))}, {percent(getattr(shown, f'confidence_{side}'), 0)}"


def _row(name: str, item: Measured, shown: Any, side: str) -> tuple[str, ...]:
    like = None if side == "before" else correlation(shown.map_before, shown.map_after)
    right = "yes" if getattr(shown, side) == shown.target else "no"
    return (
        name,
        item.class_name(getattr(shown, side)),
        right,
        percent(getattr(shown, f"confidence_{side}")),
        number(like),
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    layers = dict.fromkeys(getattr(item.record, key) for item in items for key in ("layer_before", "layer_after"))
    return (
        f"Maps are of the layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}, each divided by its "
        "largest value; where nothing speaks for the class, nothing is marked.",
        "The images were chosen, not drawn at random: they illustrate, they do not measure.",
    )


section = Spec(
    name="attention",
    title="Attention maps (Grad-CAM)",
    about="Grad-CAM marks the parts of an image whose features speak for its class, the true one, in each model. "
    "Side by side it shows whether both models look at the same parts.",
    findings=lambda item: (_alike(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    figures=lambda items: (_figure(items, place) for place in _places(items)),
    notes=_notes,
)
