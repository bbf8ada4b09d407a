"""Where the models look, on a few chosen images."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from refconv.measures.numbers import number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.attention import VERDICT
from refconv.report.charts import Photo, photo_row
from refconv.report.elements import Figure, Table
from refconv.report.sections.spec import Spec


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


def _photo(title: str, shown: Any, overlay: Sequence[Sequence[float]] | None = None) -> Photo:
    height, width, channels = shown.shape
    return Photo(title, base64.b64decode(shown.pixels), (height, width, channels), overlay)


def _said(name: str, item: Measured, shown: Any, side: str) -> str:
    return f"{name}: {item.class_name(getattr(shown, side))}, {percent(getattr(shown, f'confidence_{side}'), 0)}"


def _row(name: str, item: Measured, shown: Any, side: str) -> tuple[str, ...]:
    like = None if side == "before" else shown.correlation
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
    VERDICT,
    title="Attention maps (Grad-CAM)",
    about="Grad-CAM marks the parts of an image whose features speak for its class, the true one, in each model. "
    "Side by side it shows whether both models look at the same parts.",
    figures=lambda items: (_figure(items, place) for place in _places(items)),
    notes=_notes,
)
