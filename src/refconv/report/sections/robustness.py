"""Sections on robustness: adversarial attacks, common corruptions, shifted images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refconv.measures.judging import SURE, share_error
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Role, models, role_names
from refconv.measures.robustness import (
    ATTACK_NAMES,
    CONSERVATIVE,
    LEVELS,
    attacked,
    corrupted,
    corruption_name,
    curves_of,
    shared_kinds,
    telling_radius,
)
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import Curve, accuracies, axes, bar_figure, by_role, curve_figure, on_samples, said

_LEVEL = "A fall counts only together with the level: a model that is worse throughout falls less deep as well."


def _attack(items: Items, kind: str) -> Figure:
    title, radius = f"Accuracy under {ATTACK_NAMES[kind]}", telling_radius(items[0].before)
    levels = by_role(items, lambda record: attacked(record, kind, radius))
    names = role_names(items)
    ends = ", ".join(f"{names[role]} {percent(one.clean)} to {percent(one.hit)}" for role, one in levels.items())
    return curve_figure(
        accuracies(items, lambda record: curves_of(record)[kind]), title=title,
        **axes("radius, in 1 / 255", "accuracy, %"), y_range=(0, 100), scale=LEVELS,
        show_x=lambda strength: f"{number(LEVELS * strength)} / 255", head="radius",
        alt=f"Curves of accuracy against the radius of the attack. From no attack to {number(LEVELS * radius)} / 255: "
        f"{ends}.",
        caption=f"{title}, with 95 % intervals; radii as steps of a pixel from 0 to 255.",
    )  # fmt: skip


def _attack_notes(items: Items) -> Iterator[str]:
    hiding = [name for _, name, record in models(items) if _hides(record)]
    first = items[0].after
    yield f"{on_samples(first)} PGD takes {first.steps} steps from a random point of the ball."
    yield "Sentences speak of the radius at which PGD leaves the start nearest to half of its accuracy."
    yield _LEVEL
    yield "PGD bounds accuracy under attack from above; a better attack may find more."
    yield CONSERVATIVE
    yield f"FGSM finds more than PGD, which is a sign of hidden gradients: {', '.join(hiding)}." if hiding else ""


def _hides(record: Any) -> bool:
    curves = [curves_of(record)[kind].accuracy for kind in ("fgsm", "pgd")]
    return any(two - one > SURE * 2**0.5 * share_error(two, record.samples) for one, two in zip(*curves, strict=True))


def _corruptions(items: Items) -> Iterator[Figure]:
    kinds = shared_kinds(items)
    if kinds:
        yield _corruption_means(items, kinds)
        yield from (_corruption(items, kind) for kind in kinds)


def _corruption_means(items: Items, kinds: list[str]) -> Figure:
    rows = {corruption_name(kind): [kind] for kind in kinds} | ({"all": kinds} if len(kinds) > 1 else {})
    bars: dict[str, dict[Role, float | None]]
    bars = {"none": by_role(items, lambda record: corrupted(record, kinds).clean)}
    bars |= {name: {role: corrupted(record, of).hit for role, _, record in models(items)} for name, of in rows.items()}
    title = "Mean accuracy per corruption"
    return bar_figure(
        bars, role_names(items), title=title, y_label="accuracy, %", y_range=(0, 100), factor=100, head="corruption",
        alt="Bars of the mean accuracy per corruption. Over all: "
        f"{said(items, lambda record: percent(corrupted(record, kinds).hit))}.",
        caption=f"{title}, over strengths 1 to 5, beside that without one.",
    )  # fmt: skip


def _ends(curves: list[Curve]) -> str:
    return ", ".join(f"{curve.name} {percent(curve.y[0])} to {percent(curve.y[-1])}" for curve in curves)


def _corruption(items: Items, kind: str) -> Figure:
    name = corruption_name(kind)
    curves = accuracies(items, lambda record: curves_of(record)[kind])
    title = f"Accuracy under {name}"
    return curve_figure(
        curves, title=title, **axes("strength", "accuracy, %"), y_range=(0, 100), head="strength",
        alt=f"Curves of accuracy against the strength of {name}. From none to the strongest: {_ends(curves)}.",
        caption=f"{title}, with 95 % intervals.",
        option=("corruption", name),
    )  # fmt: skip


def _corruption_notes(items: Items) -> Iterator[str]:
    record = items[0].after
    reasons = {corruption_name(kind): why for _, _, found in models(items) for kind, why in found.left_out.items()}
    yield f"{on_samples(record)} Strengths are those of {record.table}; five of its kinds, not its score."
    yield _LEVEL
    yield "The corruption that changed most is picked out of several, which makes it look surer than it is."
    yield CONSERVATIVE
    yield from (f"Without {kind}: {why}." for kind, why in reasons.items())


_SHIFTS = {
    "same": ("Class kept under a shift", "Share of shifts that keep the class, over images and the four directions"),
    "stable": (
        "Class kept under all shifts",
        "Share of images that keep their class under all shifts up to that distance",
    ),
}


def _shift(items: Items, key: str) -> Figure:
    title, caption = _SHIFTS[key]
    curves = [Curve(name, role, one.pixels, getattr(one, key), one.samples) for role, name, one in models(items)]
    farthest = items[0].before.pixels[-1]
    return curve_figure(
        curves, title=title, **axes("shift, in pixels", "%"), head="pixels",
        alt=f"Curves of the share that keeps its class, from 1 pixel to {farthest}: {_ends(curves)}.",
        caption=f"{caption}, with 95 % intervals.",
        table=caption,
    )  # fmt: skip


def _shift_notes(items: Items) -> Iterator[str]:
    yield f"{on_samples(items[0].after)} Images move up, down, left and right; the border is repeated."
    yield "A model that always names one class is fully consistent: read consistency beside accuracy."
    yield "Where accuracy fell by more than chance, more consistency counts as different, not as better."
    yield "Standard errors count the four shifts of an image as one sample."
    yield "They take the two models as independent, which is on the safe side."


SECTIONS = (
    Spec("attacks", lambda items: (_attack(items, kind) for kind in ATTACK_NAMES), _attack_notes),
    Spec("corruptions", _corruptions, _corruption_notes),
    Spec("shifts", lambda items: (_shift(items, key) for key in _SHIFTS), _shift_notes),
)
