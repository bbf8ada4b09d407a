"""Which depthwise kernels differences of Gaussians fit."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.pairs import Measured, Pair, measured, notes_on, rivals, role_names
from refconv.report.charts import Bars, Guide, Role, bar_chart
from refconv.report.elements import Figure, Finding, Section, Table
from refconv.report.numbers import count, number, percent
from refconv.report.sections.direction import RULE, as_change, tally
from refconv.report.sections.layer_findings import contrast_finding, course_finding
from refconv.report.sections.per_layer import Quantity, course_of, field, layer_figure

FITTING = Quantity("share of kernels that fit", field("fitting"), show=percent)
RESIDUAL = Quantity("median residual", field("residual"))

_FAMILIES = {
    "dog": "difference of Gaussians",
    "first": "its first derivative",
    "second": "its second derivative",
}


def section(pairs: Sequence[Pair]) -> Section | None:
    """Return the section on fits of Gaussians; None if no pair has depthwise kernels of 5 x 5 or more."""
    items = [item for item in measured(pairs, "gaussians") if item.record.layers]
    if not items:
        return None
    findings = [finding for item in items for finding in (_pooled(item), course_finding(item, RESIDUAL))]
    findings += [contrast_finding(subject, reference, FITTING) for subject, reference in rivals(items)]
    chance = items[0].record.chance
    guides = [Guide("x", share, f"noise {_times(size)}") for size, share in chance.items()]
    return Section(
        name="gaussians",
        title="Differences of Gaussians",
        about="Trained depthwise kernels often are of a known, smooth kind: a difference of two Gaussians or one of "
        "its first two derivatives. The share of kernels that such a function fits says how many are, beside the share "
        "of kernels of white noise that would pass as well.",
        findings=tuple(findings),
        figures=(
            _families(items),
            layer_figure(
                items,
                FITTING,
                caption="Share of a layer's kernels that one of the functions fits.",
                guides=guides,
                choice="measure",
            ),
            layer_figure(
                items,
                RESIDUAL,
                caption="Median over a layer's kernels of the share of their square sum that the best function leaves.",
                choice="measure",
            ),
        ),
        notes=_notes(pairs, items),
    )


def _pooled(item: Measured) -> Finding:
    first, last = item.record.fitting
    kernels = sum(row.slices for row in item.record.layers)
    chance = ", ".join(f"{percent(share)} of {_times(size)}" for size, share in item.record.chance.items())
    found = course_of(item, FITTING)
    text = (
        f"Of {count(kernels, 'depthwise kernel')} of 5 × 5 taps or more {percent(first)} fit before and "
        f"{percent(last)} after ({tally(found)}); of white noise {chance} would."
    )
    return Finding(item.name, text, as_change(found.way), found.p)


def _families(items: Sequence[Measured]) -> Figure:
    def shares(key: str) -> dict[Role, float]:
        of = [record.fitting if key == "any" else record.families[key] for record in (i.record for i in items)]
        return {"before": of[0][0], **{item.role: last for item, (_, last) in zip(items, of, strict=True)}}

    found = {name: shares(key) for key, name in (("any", "any"), *_FAMILIES.items())}
    names = role_names(items)
    drawing = bar_chart(
        [Bars(name, values) for name, values in found.items()],
        names,
        title="Kernels that fit",
        y_label="share of all kernels",
        y_range=(0, max(0.05, *(value for values in found.values() for value in values.values()))),
    )
    said = ", ".join(f"{names[role]} {percent(value)}" for role, value in found["any"].items())
    rows = tuple((name, *(percent(value) for value in values.values())) for name, values in found.items())
    return Figure(
        drawing,
        alt=f"Bars of the share of depthwise kernels that fit, by kind of function and model. Any: {said}.",
        caption="Share of all depthwise kernels whose best function is of each kind and fits.",
        table=Table("Share of kernels that fit, by kind of function", ("function", *names.values()), rows),
    )


def _notes(pairs: Sequence[Pair], items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].record
    reasons = list(record.left_out.values())
    left_out = [
        f"{count(reasons.count(reason), 'layer')} left out: {_times(reason)}." for reason in dict.fromkeys(reasons)
    ]
    cut = [row for row in record.layers if row.sampled < row.slices]
    names = {item.name for item in items}
    nothing = [item.name for item in measured(pairs, "gaussians") if item.name not in names]
    return (
        f"A kernel fits if the function leaves at most {number(record.tolerance)} of its square sum. Kernels under "
        "5 × 5 are left out, as nearly any would fit; the guide is the share of white noise that fits.",
        RULE,
        *left_out,
        *(
            (f"In {count(len(cut), 'large layer')} a sample of kernels was fitted, the same in all models.",)
            if cut
            else ()
        ),
        *(f"{name} has no depthwise kernels that are large enough." for name in nothing),
        *notes_on([pair for pair in pairs if pair.name not in nothing], items, "gaussians"),
    )


def _times(text: str) -> str:
    return text.replace(" x ", " × ")
