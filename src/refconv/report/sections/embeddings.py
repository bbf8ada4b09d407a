"""Sections on frozen features: simple classifiers on them, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from refconv.measures.numbers import count, fine_percent, percent
from refconv.measures.pairs import Role, role_names
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import bar_figure, on_samples, pairs_said


def _probes(items: Items) -> Iterator[Figure]:
    shares: dict[str, dict[Role, float | None]] = {}
    for item in items:
        for score in item.record.scores:
            of_probe = shares.setdefault(score.name, {"before": score.accuracy[0]})
            of_probe[item.role] = score.accuracy[1]
    ends = pairs_said(items, lambda record: fine_percent(record.scores[0].accuracy[1]))
    title = "Accuracy of probes"
    yield bar_figure(
        shares, role_names(items), title=title, y_label="top-1, %", head="probe", factor=100, show=fine_percent,
        alt=f"Bars of the accuracy of simple classifiers on frozen features. Linear: {ends}.",
        caption=f"{title} on frozen features, a bar per model.",
    )  # fmt: skip


def _probes_notes(items: Items) -> Iterator[str]:
    record = items[0].record
    trained = count(record.training_samples, "training sample")
    yield f"{on_samples(record)} The probes were trained on {trained}."
    yield "Features are what the last linear or convolutional layer is given, the mean over positions."
    yield "A probe that is better than the model's own classifier says that the classifier does not fit its features."
    yield "Between pairs, accuracies are compared as if their samples were different ones, which is cautious."


def _neighbours(items: Items) -> Iterator[Figure]:
    shares: dict[str, dict[Role, float | None]] = {}
    for item in items:
        for row in item.record.sets:
            shares.setdefault(f"{row.size} nearest", {})[item.role] = row.kept
    ends = pairs_said(items, lambda record: percent(record.sets[-1].kept))
    title = "Neighbours that stay"
    yield bar_figure(
        shares, role_names(items, before=False), title=title, y_label="%", head="neighbours", factor=100,
        alt=f"Bars of the share of nearest neighbours that are the same after as before. Largest sets: {ends}.",
        caption=f"{title}, as a share of the sets of nearest neighbours of a sample, by cosine.",
    )  # fmt: skip


def _neighbours_notes(items: Items) -> Iterator[str]:
    record = items[0].record
    chance = ", ".join(f"{percent(row.chance)} of {row.size}" for row in record.sets)
    yield f"{on_samples(record)} Sets drawn at random have in common {chance}."
    yield "Features are what the last linear or convolutional layer is given, the mean over positions."
    yield "Neighbours are looked for among these samples alone: among more, more of them change."


SECTIONS = (Spec("probes", _probes, _probes_notes), Spec("neighbours", _neighbours, _neighbours_notes))
