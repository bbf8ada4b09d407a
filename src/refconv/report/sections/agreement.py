"""Which samples and classes changed sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from refconv.measures.findings import Change, Claim, Finding, Support
from refconv.measures.numbers import count, percent, points
from refconv.measures.paired_difference import PairedDifference, mcnemar, paired_difference
from refconv.measures.pairs import Measured, role_names
from refconv.measures.support import REFCONV, claim
from refconv.measures.wording import course
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.confusions import confusions_figure, same_samples_difference
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

DRAWN = 20
"""Classes in the picture; the table has up to `LISTED`."""
LISTED = 100
LIMIT = 0.05
"""Of McNemar's p."""

_WORDS: dict[Change, str] = {
    "better": "More samples are right after than before, beyond chance",
    "worse": "Fewer samples are right after than before, beyond chance",
    "same": "As many samples are right after as before",
    "unclear": "The difference in right samples may be chance",
}


def _claim(items: Sequence[Measured]) -> Claim | None:
    """Return the claim on accuracy, which a part of the samples does not decide."""
    found = claim("Refocusing a pretrained model raises its accuracy.", REFCONV, items, _change, _WORDS, _against)
    parts = {item.name: count(item.record.samples, "sample") for item in items if item.record.cut}
    if found is None:
        return None
    undecided: dict[str, tuple[Support, str]] = {
        name: ("undecided", f"Only a part of the split was compared, {parts[name]}; accuracy is told by all of it.")
        for name in found.verdicts
        if name in parts
    }
    return replace(found, verdicts={**found.verdicts, **undecided})


def counts(record: Any) -> PairedDifference:
    """Return the accuracies before and after with the interval of their difference."""
    return paired_difference(record.both_right, record.gained, record.lost, record.both_wrong)


def judged(gained: int, lost: int) -> Change:
    """Return what a split of the samples that changed sides says.

    Example:
        >>> judged(20, 2), judged(2, 20), judged(3, 3), judged(4, 3)
        ('better', 'worse', 'same', 'unclear')
    """
    if gained == lost:
        return "same"
    if mcnemar(gained, lost) >= LIMIT:
        return "unclear"
    return "better" if gained > lost else "worse"


def _change(item: Measured) -> Change:
    return judged(item.record.gained, item.record.lost)


def _accuracy(item: Measured) -> Finding:
    found = counts(item.record)
    text = (
        f"Accuracy {course(_share, found.first, found.second)}: of "
        f"{count(found.samples, 'sample')} {found.gained:,} {_is(found.gained)} right only after and {found.lost:,} "
        f"only before ({points(found.difference)} points, 95 % interval {points(found.low)} to {points(found.high)}, "
        f"McNemar's p = {found.p:.2g})."
    )
    return Finding(item.name, text, _change(item), found.p)


def _common(item: Measured) -> Finding:
    same = item.record.same
    text = f"Before and after put {percent(same)} of the samples into the same class, right or wrong."
    return Finding(item.name, text, "same" if same == 1 else "different")


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = counts(subject.record), counts(reference.record)
    accuracies = f"{_share(mine.second)} of the samples, {reference.name} {_share(theirs.second)}"
    split = same_samples_difference(subject, reference)
    if split is None:
        text = f"{subject.name} gets {accuracies}; sample by sample the two cannot be compared from these records."
        return Finding(subject.name, text, "unclear")
    wins, losses = split
    text = (
        f"{subject.name} gets {accuracies}: {wins:,} {_is(wins)} right only with {subject.name} and {losses:,} only "
        f"with {reference.name} (McNemar's p = {mcnemar(wins, losses):.2g})."
    )
    return Finding(subject.name, text, judged(wins, losses), mcnemar(wins, losses))


def _against(subject: Measured, reference: Measured) -> Change:
    split = same_samples_difference(subject, reference)
    return "unclear" if split is None else judged(*split)


def _figures(items: Sequence[Measured]) -> list[Figure]:
    confused = confusions_figure(items)
    return [_classes(items), *([confused] if confused else [])]


def _classes(items: Sequence[Measured]) -> Figure:
    nets = {item.role: {row.target: _net(row) for row in item.record.classes} for item in items}
    targets = sorted({target for net in nets.values() for target in net})
    most = sorted(targets, key=lambda target: (-max(abs(net.get(target, 0)) for net in nets.values()), target))
    drawn = sorted(most[:DRAWN])
    bars = [Bars(items[0].class_name(t), {role: net.get(t) for role, net in nets.items()}) for t in drawn]
    title = "Change of accuracy per class"
    drawing = bar_chart(bars, role_names(items, before=False), title=title, y_label="points")
    some = f" Of {len(targets)} classes the {DRAWN} that changed most." if len(targets) > DRAWN else ""
    return Figure(
        drawing,
        alt=f"Bars of the change of accuracy per class. {' '.join(_extremes(item, nets[item.role]) for item in items)}",
        caption=f"{title}, in percentage points: gained less lost, over the samples of the class.{some}",
        table=_table(items, most),
    )


def _net(row: Any) -> float:
    return 100 * float(row.gained - row.lost) / float(row.samples)


def _extremes(item: Measured, net: dict[int, float]) -> str:
    up, down = max(net, key=lambda target: net[target]), min(net, key=lambda target: net[target])
    if net[up] == net[down]:
        return f"{item.name}: {points(net[up] / 100, 1)} points in every class."
    ends = [f"{item.class_name(target)} {points(net[target] / 100, 1)} points" for target in (down, up)]
    return f"{item.name}: from {ends[0]} to {ends[1]}."


def _table(items: Sequence[Measured], most: Sequence[int]) -> Table:
    rows = []
    for target in most[:LISTED]:
        for item in items:
            for row in (row for row in item.record.classes if row.target == target):
                shares = (percent(getattr(row, side) / row.samples) for side in ("before", "after"))
                numbers = (f"{row.samples:,}", *shares, f"{row.gained:,}", f"{row.lost:,}")
                rows.append((item.class_name(target), item.name, *numbers))
    caption = "Accuracy per class and samples that changed sides, classes that changed most first"
    return Table(caption, ("class", "pair", "samples", "right before", "right after", "gained", "lost"), tuple(rows))


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    return (
        samples_note(items[0].record),
        "A small p says that the difference is no accident of these samples. It says nothing about other seeds: two "
        "trainings of one recipe change sides on many samples, too.",
    )


def _share(share: float | None) -> str:
    return percent(share, 2)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


section = Spec(
    name="agreement",
    title="Samples gained and lost",
    about="Both models classify the same samples: some are right only after (gained), some only before (lost). "
    "If these split more unevenly than coins would, the change in accuracy is no accident of these samples.",
    findings=lambda item: (_accuracy(item), _common(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=_claim,
    figures=_figures,
    notes=_notes,
)
