"""Whether models are right as often as they say they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import SURE, Difference, share_error, share_interval
from refconv.measures.numbers import number, percent, points
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.wording import SURENESS, compared, course
from refconv.report.charts import Bars, Guide, Line, bar_chart, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def ece_error(record: Any) -> float:
    """Return the standard error of the ECE: bins count as independent, confidences as given.

    A bin of which all samples are right has an error, too.
    """
    rows = [row for row in record.bins if row.samples]
    errors = (row.samples * share_error(row.accuracy, row.samples) for row in rows)
    return math.hypot(*errors) / float(record.samples)


def chance_ece(record: Any) -> float:
    """Return the ECE that a perfectly calibrated model of these confidences shows on as many samples, on average."""
    rows = [row for row in record.bins if row.samples]
    gaps = (math.sqrt(2 / math.pi * row.samples * row.confidence * (1 - row.confidence)) for row in rows)
    return sum(gaps) / float(record.samples)


def _difference(first: Any, second: Any) -> Difference:
    return Difference(second.ece - first.ece, math.hypot(ece_error(first), ece_error(second)))


def _error(item: Measured) -> Finding:
    found = _difference(item.before, item.after)
    change = found.judged(lower=True)
    text = (
        f"The expected calibration error {course(_share, item.before.ece, item.after.ece)} "
        f"({points(found.value)} points, standard error {percent(found.error, 2).removesuffix(' %')}: "
        f"{SURENESS[change]})."
    )
    return Finding(item.name, text, change, found.p)


def _scores(item: Measured) -> Finding:
    nll = course(_score, item.before.nll, item.after.nll)
    brier = course(_score, item.before.brier, item.after.brier)
    change: Change = (
        "same" if all(getattr(item.before, key) == getattr(item.after, key) for key in ("nll", "brier")) else "unclear"
    )
    doubt = "" if change == "same" else "; how much of that is chance the record does not tell"
    text = f"The negative log-likelihood {nll} nats, the Brier score {brier}, both better the lower{doubt}."
    return Finding(item.name, text, change)


def _confidence(item: Measured) -> Finding:
    gaps = [side.confidence - side.accuracy for side in (item.before, item.after)]
    text = f"On average the model before {_sure(gaps[0])}, the one after {_sure(gaps[1])}."
    return Finding(item.name, text, "same" if gaps[0] == gaps[1] else "different")


def _sure(gap: float) -> str:
    size = points(abs(gap)).lstrip("+")
    if size == points(0).lstrip("+"):
        return "is neither over- nor underconfident"
    return f"is {size} points {'over' if gap > 0 else 'under'}confident"


def _contrast(subject: Measured, reference: Measured) -> Finding:
    found = _difference(reference.after, subject.after)
    change = found.judged(lower=True)
    words = compared(_share, reference.name, subject.after.ece, reference.after.ece)
    return Finding(subject.name, f"{subject.name} ends at an ECE of {words} ({SURENESS[change]}).", change, found.p)


def _share(share: float | None) -> str:
    return percent(share, 2)


def _score(value: float | None) -> str:
    return number(value, 4)


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
    bins = items[0].before.bins
    shares = {role: [row.samples / record.samples for row in record.bins] for role, _, record in models(items)}
    labels = [_bin_name(bins[place]) for place in places]
    bars = [
        Bars(labels[place], {role: 100 * values[place] for role, values in shares.items()})
        for place in places
        if any(values[place] for values in shares.values())
    ]
    top = ", ".join(f"{name} {percent(shares[role][-1])}" for role, name, _ in models(items))
    rows = tuple((labels[place], *(percent(values[place]) for values in shares.values())) for place in places)
    title = "Samples per bin of confidence"
    return Figure(
        bar_chart(bars, role_names(items), title=title, y_label="samples, %"),
        alt=f"Bars of the share of samples per bin of confidence. In the highest bin: {top}.",
        caption="The share of samples in each bin of confidence.",
        table=Table(title, ("bin of confidence", *(name for _, name, _ in models(items))), rows),
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
    name="calibration",
    title="Calibration",
    about="A calibrated classifier that says 80 % is right in 80 % of such cases. The expected calibration error "
    "(ECE) is the mean gap between confidence and accuracy.",
    findings=lambda item: (_error(item), _scores(item), _confidence(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    figures=lambda items: (_reliability(items), _spread(items), _errors(items)),
    notes=_notes,
)
