"""How often a class survives when the image moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.shifts import VERDICT
from refconv.report.elements import Figure
from refconv.report.sections.figures import Curve, curve_figure
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

Key = Literal["same", "stable"]

_CAPTIONS: dict[Key, str] = {
    "same": "Share of shifts that keep the class, over images and the four directions",
    "stable": "Share of images that keep their class under all shifts up to that distance",
}


def _figure(items: Sequence[Measured], key: Key) -> Figure:
    curves = [Curve(name, role, one.pixels, getattr(one, key), one.samples) for role, name, one in models(items)]
    ends = ", ".join(f"{curve.name} {percent(curve.y[0])} to {percent(curve.y[-1])}" for curve in curves)
    return curve_figure(
        curves,
        title="Class kept under a shift" if key == "same" else "Class kept under all shifts",
        x_label="shift, in pixels",
        y_label="%",
        head="pixels",
        alt=f"Curves of the share that keeps its class, from 1 pixel to {items[0].before.pixels[-1]}: {ends}.",
        caption=f"{_CAPTIONS[key]}, with 95 % intervals.",
        table=_CAPTIONS[key],
    )


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
