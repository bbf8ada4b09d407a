"""Whether models are right as often as they say they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.judging import SURE, share_interval
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, Role, models, role_names
from refconv.measures.verdicts.calibration import VERDICT, ece_error
from refconv.report.charts import Bars, Guide, Line, bar_chart, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.figures import bar_figure
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def chance_ece(record: Any) -> float:
    """Return the ECE that a perfectly calibrated model of these confidences shows on as many samples, on average."""
    rows = [row for row in record.bins if row.samples]
    gaps = (math.sqrt(2 / math.pi * row.samples * row.confidence * (1 - row.confidence)) for row in rows)
    return sum(gaps) / float(record.samples)


def _reliability(items: Sequence[Measured]) -> Figure:
    lines = []
    for role, name, record in models(items):
        rows = [row for row in record.bins if row.samples]
        bounds = [share_interval(row.accuracy, row.samples) for row in rows]
        lines.append(
            Line(
                name,
                role,
                [row.confidence for row in rows],
                [row.accuracy for row in rows],
                low=[low for low, _ in bounds],
                high=[high for _, high in bounds],
            )
        )
    drawing = line_chart(
        lines,
        title="Reliability",
        x_label="confidence",
        y_label="accuracy",
        y_range=(0, 1),
        guides=(Guide("diagonal", label="calibrated"),),
    )
    errors = ", ".join(f"{name} {percent(record.ece, 2)}" for _, name, record in models(items))
    return Figure(
        drawing,
        alt=f"Accuracy against mean confidence per bin beside the diagonal of a calibrated model. ECE: {errors}.",
        caption="Reliability diagram: below the diagonal a model is overconfident. Bands: 95 % intervals, "
        "wide where few samples lie.",
        table=_bins_table(items),
    )


def _bins_table(items: Sequence[Measured]) -> Table:
    rows = [
        (_bin_name(row), name, f"{row.samples:,}", percent(row.confidence), percent(row.accuracy))
        for place in range(max(len(record.bins) for _, _, record in models(items)))
        for _, name, record in models(items)
        for row in record.bins[place : place + 1]
        if row.samples
    ]
    header = ("bin of confidence", "model", "samples", "mean confidence", "accuracy")
    return Table("Confidence and accuracy per bin", header, tuple(rows))


def _bin_name(row: Any) -> str:
    return f"{percent(row.low, 0).removesuffix(' %')} to {percent(row.high, 0)}"


def _spread(items: Sequence[Measured]) -> Figure:
    places = range(min(len(record.bins) for _, _, record in models(items)))
    bars: dict[str, dict[Role, float | None]] = {
        _bin_name(items[0].before.bins[at]): {
            role: record.bins[at].samples / record.samples for role, _, record in models(items)
        }
        for at in places
    }
    top = ", ".join(f"{name} {percent(bars[list(bars)[-1]][role])}" for role, name, _ in models(items))
    return bar_figure(
        bars,
        role_names(items),
        title="Samples per bin of confidence",
        y_label="samples, %",
        factor=100,
        sparse=True,
        head="bin of confidence",
        alt=f"Bars of the share of samples per bin of confidence. In the highest bin: {top}.",
        caption="The share of samples in each bin of confidence.",
    )


def _errors(items: Sequence[Measured]) -> Figure:
    found = models(items)
    bars = [
        Bars(
            "ECE",
            {role: 100 * record.ece for role, _, record in found},
            {role: 100 * SURE * ece_error(record) for role, _, record in found},
        ),
        Bars("largest gap of a bin", {role: 100 * record.mce for role, _, record in found}),
    ]
    keys = ("ece", "mce", "confidence", "accuracy")
    rows = [
        (name, *(percent(getattr(record, key), 2) for key in keys), number(record.nll), number(record.brier))
        for _, name, record in found
    ]
    header = ("model", "ECE", "largest gap", "mean confidence", "accuracy", "NLL, nats", "Brier, 0 to 2")
    return Figure(
        bar_chart(bars, role_names(items), title="Calibration errors", y_label="%"),
        alt=f"Bars of calibration errors. {_alt_errors(found)}",
        caption="Calibration errors, lower is better, with the 95 % interval of the ECE; a gap of one bin may be that "
        "of few samples.",
        table=Table("Calibration in numbers", header, tuple(rows)),
    )


def _alt_errors(found: Sequence[tuple[Any, str, Any]]) -> str:
    return "; ".join(f"{name}: ECE {percent(r.ece, 2)}, largest gap {percent(r.mce, 2)}" for _, name, r in found) + "."


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    after = items[-1].after
    bins = len(after.bins)
    return (
        f"{samples_note(after)} Bins: {bins}, of equal width.",
        f"The ECE depends on the bins and is biased upwards with few samples: a perfectly calibrated model of these "
        f"confidences would show about {percent(chance_ece(after), 2)} on {after.samples:,} samples.",
        "Standard errors take the two models' samples as independent, which is on the safe side.",
        "Training that smooths labels or mixes images moves calibration without moving accuracy.",
    )


section = Spec(
    VERDICT,
    title="Calibration",
    about="A calibrated classifier that says 80 % is right in 80 % of such cases. The expected calibration error "
    "(ECE) is the mean gap between confidence and accuracy.",
    figures=lambda items: (_reliability(items), _spread(items), _errors(items)),
    notes=_notes,
)
