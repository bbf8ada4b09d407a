"""Accuracy under adversarial attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.judging import SURE, share_error
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.attacks import LEVELS, NAMES, VERDICT, at, curve_of, radius_of
from refconv.measures.verdicts.curves import CONSERVATIVE
from refconv.report.elements import Figure
from refconv.report.sections.figures import accuracies, curve_figure
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def _figure(items: Sequence[Measured], kind: str) -> Figure:
    title, radius = f"Accuracy under {NAMES[kind]}", radius_of(items)
    found = [(name, at(record, kind, radius)) for _, name, record in models(items)]
    words = ", ".join(f"{name} {percent(level.clean)} to {percent(level.hit)}" for name, level in found)
    return curve_figure(
        accuracies(items, lambda record: curve_of(record, kind)),
        title=title,
        x_label="radius, in 1 / 255",
        y_label="accuracy, %",
        y_range=(0, 100),
        scale=LEVELS,
        show_x=lambda strength: f"{number(LEVELS * strength)} / 255",
        head="radius",
        alt=f"Curves of accuracy against the radius of the attack. From no attack to {number(LEVELS * radius)} / 255: "
        f"{words}.",
        caption=f"{title}, with 95 % intervals; radii as steps of a pixel from 0 to 255.",
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    hiding = [name for _, name, record in models(items) if _hides(record)]
    return (
        f"{samples_note(items[0].after)} PGD takes {items[0].after.steps} steps from a random point of the ball.",
        "Sentences speak of the radius at which PGD leaves the start nearest to half of its accuracy. A fall counts "
        "only together with the level: a model that is worse throughout falls less deep as well.",
        "PGD bounds accuracy under attack from above; a better attack may find more.",
        CONSERVATIVE,
        (f"FGSM finds more than PGD, which is a sign of hidden gradients: {', '.join(hiding)}.") if hiding else "",
    )


def _hides(record: Any) -> bool:
    curves = [curve_of(record, kind).accuracy for kind in ("fgsm", "pgd")]
    return any(two - one > SURE * 2**0.5 * share_error(two, record.samples) for one, two in zip(*curves, strict=True))


section = Spec(
    VERDICT,
    title="Adversarial attacks",
    about="Images are changed by at most a radius per pixel so that the model's loss grows: FGSM takes one step, "
    "PGD several and is the stronger attack. The less accuracy falls from that on unchanged images, the more "
    "robust the model.",
    figures=lambda items: (_figure(items, kind) for kind in NAMES),
    notes=_notes,
)
