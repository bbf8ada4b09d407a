"""Sections on what models say: measures of a task, samples gained and lost, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from refconv.measures.agreement import confusions, ece_error, filled
from refconv.measures.judging import SURE, share_interval
from refconv.measures.numbers import count, fine_percent, number, percent, points, signed
from refconv.measures.pairs import Measured, Role, models, role_names
from refconv.measures.scores import words_of
from refconv.report.charts import Guide, Line, line_chart
from refconv.report.elements import Figure, Items, Spec, Table
from refconv.report.sections.figures import axes, bar_figure, by_role, dot_figure, figure, model_rows, on_samples, said
from refconv.sentences import capital


def _scores(items: Items) -> Iterator[Figure]:
    words, classes = words_of(items[0]), items[0].after.classes
    ends = said(items, lambda record: words.show(words.value_of(record)))
    if classes:
        of = words.of_classes
        yield dot_figure(
            {name: {role: record.classes.get(name) for role, _, record in models(items)} for name in classes},
            role_names(items), title=f"{capital(of)} of each class", x_label=f"{of}, %", factor=100, head="class",
            show=fine_percent,
            alt=f"The {of} of {count(len(classes), 'class', 'classes')}; mean over classes: {ends}.",
            caption=f"The {of} of each class, a dot per model.",
        )  # fmt: skip
    held = [name for name in words.titles if any(name in record.measures for _, _, record in models(items))]
    shares = [name for name in held if name not in words.plain]
    measures = [(name, {role: record.measures.get(name) for role, _, record in models(items)}) for name in held]
    rows = ((words.titles[name], *(words.shown(name, value) for value in of.values())) for name, of in measures)
    title = "The measures of the task"
    yield dot_figure(
        {words.titles[name]: of for name, of in measures if name in (shares or [words.first])}, role_names(items),
        title=title, x_label="%" if shares else "dB", factor=100 if shares else 1,
        alt=f"{capital(words.title)} and what else was measured: {ends}.",
        caption="What the task is judged by, a dot per model.",
        table=Table(title, ("measure", *role_names(items).values()), tuple(rows)),
    )  # fmt: skip


def _scores_notes(items: Items) -> Iterator[str]:
    record = items[0].after
    yield on_samples(record) if record.cut else f"Measured on {count(record.samples, 'sample')}, the whole split."
    yield "There is no interval: the records hold one number for each model, and one model is one seed."
    yield "Several seeds side by side, by refconv compare, tell a difference from chance."


def _cues(items: Items) -> Iterator[Figure]:
    decisions = ("shape", "texture", "neither")
    values: dict[str, dict[Role, float | None]]
    values = {name: {role: getattr(side, name) for role, _, side in models(items)} for name in decisions}
    title = "Decisions by cue"
    yield bar_figure(
        values, role_names(items), title=title, y_label="samples", head="decision", show=number,
        alt=f"Bars of how many samples are put into the class of their shape, texture or neither. Shape: "
        f"{said(items, lambda side: percent(side.share))}.",
        caption=f"{title}: samples in the class of their shape, in that of their texture, and in neither.",
    )  # fmt: skip


def _cues_notes(items: Items) -> Iterator[str]:
    yield on_samples(items[0].record)
    yield "Which share is the better one depends on what the model is for."


DRAWN = 20  #: Classes in the picture; the table has up to `LISTED`
LISTED = 100
_CONFUSIONS = 10


def _agreement(items: Items) -> list[Figure]:
    grown = {item.role: confusions(item) for item in items}
    keys = {key for found in grown.values() for key, change in found.items() if change}
    most = sorted(keys, key=lambda key: (-max(abs(found[key]) for found in grown.values()), key))[:_CONFUSIONS]
    return [_classes(items), *([_confusions(items, most)] if most else [])]


def _classes(items: Items) -> Figure:
    nets = {
        item.role: {row.target: 100 * (row.gained - row.lost) / row.samples for row in item.record.classes}
        for item in items
    }
    targets = sorted({target for net in nets.values() for target in net})
    most = sorted(targets, key=lambda target: (-max(abs(net.get(target, 0)) for net in nets.values()), target))
    title = "Change of accuracy per class"
    some = f" Of {len(targets)} classes the {DRAWN} that changed most." if len(targets) > DRAWN else ""
    ends = " ".join(_extremes(item, nets[item.role]) for item in items)
    return bar_figure(
        {items[0].class_name(t): {role: net.get(t) for role, net in nets.items()} for t in sorted(most[:DRAWN])},
        role_names(items, before=False), title=title, y_label="points",
        alt=f"Bars of the change of accuracy per class. {ends}",
        caption=f"{title}, in percentage points: gained less lost, over the samples of the class.{some}",
        table=_classes_table(items, most),
    )  # fmt: skip


def _extremes(item: Measured, net: dict[int, float]) -> str:
    up, down = max(net, key=lambda target: net[target]), min(net, key=lambda target: net[target])
    if net[up] == net[down]:
        return f"{item.name}: {points(net[up] / 100, 1)} points in every class."
    ends = [f"{item.class_name(target)} {points(net[target] / 100, 1)} points" for target in (down, up)]
    return f"{item.name}: from {ends[0]} to {ends[1]}."


def _classes_table(items: Items, most: Sequence[int]) -> Table:
    rows = []
    for target in most[:LISTED]:
        for item in items:
            for row in (row for row in item.record.classes if row.target == target):
                shares = (percent(getattr(row, side) / row.samples) for side in ("before", "after"))
                numbers = (f"{row.samples:,}", *shares, f"{row.gained:,}", f"{row.lost:,}")
                rows.append((item.class_name(target), item.name, *numbers))
    caption = "Accuracy per class and samples that changed sides, classes that changed most first"
    return Table(caption, ("class", "pair", "samples", "right before", "right after", "gained", "lost"), tuple(rows))


def _confusions(items: Items, most: Sequence[tuple[int, int]]) -> Figure:
    """Return the confusions that grew or shrank most."""
    name, names = items[0].class_name, role_names(items, before=False)
    bars: dict[str, dict[Role, float | None]] = {
        f"{name(target)} taken for {name(other)}": {item.role: float(confusions(item)[target, other]) for item in items}
        for target, other in most
    }
    label, first = next(iter(bars.items()))
    ends = ", ".join(f"{names[role]} {signed(value)}" for role, value in first.items())
    part = min(item.record.listed for item in items)
    listed = "" if part == 1 else f" From the {100 * part:.0f} % of changed samples that the record lists."
    title = "Confusions that changed most"
    return bar_figure(
        bars, names, title=title, y_label="samples", head="confusion", show=signed,
        alt=f"Bars of how many samples more or fewer are confused after than before; {label}: {ends}.",
        caption=f"{title}: samples of one class taken for another, after less before.{listed}",
    )  # fmt: skip


def _agreement_notes(items: Items) -> Iterator[str]:
    yield on_samples(items[0].record)
    yield "A small p says that the difference is no accident of these samples; it says nothing about other seeds."
    yield "Two trainings of one recipe change sides on many samples, too."


def chance_ece(record: Any) -> float:
    """Return the ECE that a perfectly calibrated model of these confidences shows on as many samples, on average."""
    gaps = (math.sqrt(2 / math.pi * row.samples * row.confidence * (1 - row.confidence)) for row in filled(record))
    return sum(gaps) / float(record.samples)


def _reliability(items: Items) -> Figure:
    lines, last = [], max(len(record.bins) for _, _, record in models(items))
    for role, name, record in models(items):
        rows = filled(record)
        low, high = zip(*(share_interval(row.accuracy, row.samples) for row in rows), strict=True)
        x, y = [row.confidence for row in rows], [row.accuracy for row in rows]
        lines.append(Line(name, role, x, y, low=list(low), high=list(high)))
    guides = (Guide("diagonal", label="calibrated"),)
    return figure(
        line_chart(lines, title="Reliability", y_range=(0, 1), guides=guides, **axes("confidence", "accuracy")),
        alt="Accuracy against mean confidence per bin beside the diagonal of a calibrated model. ECE: "
        f"{said(items, lambda record: percent(record.ece, 2))}.",
        caption="Reliability diagram: below the diagonal a model is overconfident. Bands: 95 % intervals, "
        "wide where few samples lie.",
        table="Confidence and accuracy per bin",
        header=("bin of confidence", "model", "samples", "mean confidence", "accuracy"),
        rows=(
            (_bin_name(row), name, f"{row.samples:,}", percent(row.confidence), percent(row.accuracy))
            for place in range(last)
            for _, name, record in models(items)
            for row in record.bins[place : place + 1]
            if row.samples
        ),
    )


def _bin_name(row: Any) -> str:
    return f"{percent(row.low, 0).removesuffix(' %')} to {percent(row.high, 0)}"


def _spread(items: Items) -> Figure:
    last = min(len(record.bins) for _, _, record in models(items)) - 1
    bars: dict[str, dict[Role, float | None]] = {
        _bin_name(row): {role: record.bins[at].samples / record.samples for role, _, record in models(items)}
        for at, row in enumerate(items[0].before.bins[: last + 1])
    }
    top = said(items, lambda record: percent(record.bins[last].samples / record.samples))
    return bar_figure(
        bars, role_names(items), title="Samples per bin of confidence", y_label="samples, %", factor=100, sparse=True,
        head="bin of confidence",
        alt=f"Bars of the share of samples per bin of confidence. In the highest bin: {top}.",
        caption="The share of samples in each bin of confidence.",
    )  # fmt: skip


def _errors(items: Items) -> Figure:
    keys = ("ece", "mce", "confidence", "accuracy")
    rows = model_rows(items, lambda r: (*(percent(getattr(r, key), 2) for key in keys), number(r.nll), number(r.brier)))
    header = ("model", "ECE", "largest gap", "mean confidence", "accuracy", "NLL, nats", "Brier, 0 to 2")
    ends = "; ".join(
        f"{name}: ECE {percent(r.ece, 2)}, largest gap {percent(r.mce, 2)}" for _, name, r in models(items)
    )
    gaps = {"ECE": by_role(items, lambda record: record.ece)}
    return bar_figure(
        {**gaps, "largest gap of a bin": by_role(items, lambda record: record.mce)}, role_names(items),
        title="Calibration errors", y_label="%", factor=100,
        errors={"ECE": by_role(items, lambda record: SURE * ece_error(record))},
        alt=f"Bars of calibration errors. {ends}.",
        caption="Calibration errors, lower is better, with the 95 % interval of the ECE; a gap of one bin may be that "
        "of few samples.",
        table=Table("Calibration in numbers", header, tuple(rows)),
    )  # fmt: skip


def _calibration_notes(items: Items) -> Iterator[str]:
    after = items[-1].after
    chance = percent(chance_ece(after), 2)
    yield on_samples(after)
    yield f"The ECE depends on the {len(after.bins)} bins of equal width and is biased upwards with few samples."
    yield f"A perfectly calibrated model of these confidences would show about {chance} on {after.samples:,} samples."
    yield "Standard errors take the two models' samples as independent, which is on the safe side."
    yield "Training that smooths labels or mixes images moves calibration without moving accuracy."


SECTIONS = (
    Spec("cues", _cues, _cues_notes),
    Spec("scores", _scores, _scores_notes),
    Spec("agreement", _agreement, _agreement_notes),
    Spec("calibration", lambda items: (_reliability(items), _spread(items), _errors(items)), _calibration_notes),
)
