"""Which depthwise kernels differences of Gaussians fit."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.direction import RULE
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured, role_names
from refconv.measures.verdicts.gaussians import FITTING, RESIDUAL, VERDICT, times
from refconv.report.charts import Guide, Role
from refconv.report.elements import Figure
from refconv.report.sections.figures import bar_figure
from refconv.report.sections.per_layer import layer_figure
from refconv.report.sections.spec import Spec

_FAMILIES = {"dog": "difference of Gaussians", "first": "its first derivative", "second": "its second derivative"}


def _figures(items: Sequence[Measured]) -> tuple[Figure, ...]:
    guides = [Guide("x", share, f"noise {times(size)}") for size, share in items[0].record.chance.items()]
    fitting = "Share of a layer's kernels that one of the functions fits."
    residual = "Median over a layer's kernels of the share of their square sum that the best function leaves."
    return (
        _families(items),
        layer_figure(items, FITTING, caption=fitting, guides=guides, choice="measure"),
        layer_figure(items, RESIDUAL, caption=residual, choice="measure"),
    )


def _families(items: Sequence[Measured]) -> Figure:
    def shares(key: str) -> dict[Role, float | None]:
        of = [item.record.fitting if key == "any" else item.record.families[key] for item in items]
        return {"before": of[0][0], **{item.role: last for item, (_, last) in zip(items, of, strict=True)}}

    found = {name: shares(key) for key, name in (("any", "any"), *_FAMILIES.items())}
    names = role_names(items)
    said = ", ".join(f"{names[role]} {percent(value)}" for role, value in found["any"].items())
    return bar_figure(
        found,
        names,
        title="Kernels that fit",
        y_label="share of all kernels",
        y_range=(0, max(0.05, *(value or 0 for values in found.values() for value in values.values()))),
        head="function",
        alt=f"Bars of the share of depthwise kernels that fit, by kind of function and model. Any: {said}.",
        caption="Share of all depthwise kernels whose best function is of each kind and fits.",
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].record
    reasons = list(record.left_out.values())
    left_out = [
        f"{count(reasons.count(reason), 'layer')} left out: {times(reason)}." for reason in dict.fromkeys(reasons)
    ]
    cut = [row for row in record.layers if row.sampled < row.slices]
    return (
        f"A kernel fits if the function leaves at most {number(record.tolerance)} of its square sum. Kernels under "
        "5 × 5 are left out, as nearly any would fit; the guide is the share of white noise that fits.",
        RULE,
        *left_out,
        (f"In {count(len(cut), 'large layer')} a sample of kernels was fitted, the same in all models.") if cut else "",
    )


section = Spec(
    VERDICT,
    title="Differences of Gaussians",
    about="Trained depthwise kernels often are of a known, smooth kind: a difference of two Gaussians or one of "
    "its first two derivatives. The share of kernels that such a function fits says how many are, beside the share "
    "of kernels of white noise that would pass as well.",
    figures=_figures,
    notes=_notes,
)
