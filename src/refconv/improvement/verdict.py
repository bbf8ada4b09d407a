"""What an improvement found, in sentences and as a table."""

from __future__ import annotations

from refconv.improvement.record import Candidate, FinalScores, ImproveRecord
from refconv.improvement.scoring import Difference, Score, difference
from refconv.task_measures import Measure, measures_of


def verdict(winner: Candidate, tested: FinalScores, task: str) -> str:
    """Return the result in a sentence or two: what was gained, and what of it is refocusing."""
    said, base = measures_of(task), tested.base
    samples = f"{base.samples:,} {'test' if tested.split == 'test' else 'validation'} {said.samples}s"
    if winner.kind == "base":
        first = (
            f"No training is better than the network as it was beyond noise, so it stays as it is: {base} on {samples}."
        )
    else:
        measure = said.primary
        first = (
            f"{measure.label} {measure.shown(base.value)} to {measure.said(tested.winner.value)} "
            f"({_between(difference(base, tested.winner), measure)}) on {samples}, by {winner.name}."
        )
    if tested.unrefocused is None or tested.refocused is None:
        return first
    found = difference(tested.unrefocused, tested.refocused)
    second = (
        f"At equal cost, the best refocused run minus the best one without refocusing, one run each: "
        f"{_between(found, said.primary)}."
    )
    worse = [difference(base, run).value < 0 for run in (tested.unrefocused, tested.refocused)]
    lost = " Both are worse than the network as it was." if all(worse) else ""
    return f"{first} {second}{lost}"


def result_table(record: ImproveRecord) -> tuple[tuple[str, ...], ...]:
    """Return header and rows: the network as it was, the best runs without and with refocusing, and the result."""
    tested, about = record.tested, record.tested.base.about
    named = [
        ("the network as it was", tested.base),
        (f"best run without refocusing: {record.unrefocused}", tested.unrefocused),
        (f"best run with refocusing: {record.refocused}", tested.refocused),
        (f"result: {record.winner}", tested.winner),
    ]
    samples = f"on {tested.base.samples:,} {'test' if tested.split == 'test' else 'validation'} samples"
    header = (samples, about.title, "better by", "95 % interval", "p", f"{about.label}, 95 % interval")
    rows = [
        (name, value(score)[0], *_change(tested.base, score), value(score)[1])
        for name, score in named
        if score is not None
    ]
    return (header, *rows)


def markdown(record: ImproveRecord) -> str:
    """Return the table, the verdict and the certificate as Markdown."""
    header, *rows = result_table(record)
    rule = ("---", *["---:"] * (len(header) - 1))
    table = "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))
    return f"{table}\n\n{record.verdict}\n\n```\n{record.certificate}\n```"


def value(score: Score) -> tuple[str, str]:
    """Return a value and its interval as tables show them."""
    bounds = score.interval
    interval = "" if bounds is None else f"{score.about.shown(bounds[0])} to {score.about.shown(bounds[1])}"
    return score.about.shown(score.value), interval


def _change(base: Score, score: Score) -> tuple[str, str, str]:
    if score == base:
        return "", "", ""
    found, about = difference(base, score), base.about
    p = "" if found.p is None else "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    return about.shown(found.value, signed=True), _bounds(found, about), p


def _bounds(found: Difference, measure: Measure) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{measure.shown(found.low, signed=True)} to {measure.shown(found.high, signed=True)}"


def _between(found: Difference, measure: Measure) -> str:
    bounds, unclear = _bounds(found, measure), "" if found.clear else ", no clear difference"
    between = f", 95 % interval {bounds}{unclear}" if bounds else ""
    return f"{measure.shown(found.value, signed=True)}{measure.unit}{between}"
