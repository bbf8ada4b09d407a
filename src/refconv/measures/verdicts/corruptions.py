"""Accuracy under noise, blur, contrast, brightness and compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Finding
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.curves import Level, cost_words, fall_difference, judged, level
from refconv.measures.verdicts.verdict import Verdict


def shared_kinds(items: Sequence[Measured]) -> list[str]:
    """Return the corruptions that all models met, in the order of the records."""
    found = [curves_of(record) for _, _, record in models(items)]
    return [kind for kind in found[0] if all(kind in curves for curves in found)]


def curves_of(record: Any) -> dict[str, Any]:
    """Return the curves of a model's record by corruption."""
    return {curve.kind: curve for curve in record.curves}


def level_of(record: Any, kinds: Sequence[str]) -> Level:
    """Return the accuracy of a model without corruption and its mean under some."""
    curves = curves_of(record)
    hits = [share for kind in kinds for share in curves[kind].accuracy[1:]]
    return level(curves[kinds[0]].accuracy[0], hits, record.samples)


def _of_pair(item: Measured, kinds: Sequence[str]) -> list[Finding]:
    if not kinds:
        return [Finding(item.name, "The models met no corruption in common.", "unclear")]
    pair = level_of(item.before, kinds), level_of(item.after, kinds)
    text = f"Corruption, on average over kinds and strengths, {cost_words(*pair)}."
    found = [Finding(item.name, text, judged(*pair), fall_difference(*pair).p)]
    if len(kinds) > 1:
        by_kind = {kind: (level_of(item.before, [kind]), level_of(item.after, [kind])) for kind in kinds}
        most = max(kinds, key=lambda kind: abs(fall_difference(*by_kind[kind]).value or 0.0))
        text = f"The cost changed most for {name_of(most)}, which {cost_words(*by_kind[most])}."
        found.append(Finding(item.name, text, judged(*by_kind[most])))
    return found


def _contrast(subject: Measured, reference: Measured, kinds: Sequence[str]) -> Finding:
    if not kinds:
        return Finding(subject.name, f"{subject.name} and {reference.name} met no corruption in common.", "unclear")
    mine, theirs = level_of(subject.after, kinds), level_of(reference.after, kinds)
    words = cost_words(theirs, mine, (f"with {reference.name}", f"with {subject.name}"))
    text = f"Corruption {words}."
    return Finding(subject.name, text, judged(theirs, mine), fall_difference(theirs, mine).p)


_NAMES = {
    "gaussian_noise": "Gaussian noise",
    "gaussian_blur": "Gaussian blur",
    "contrast": "less contrast",
    "brightness": "more brightness",
    "jpeg_compression": "JPEG compression",
}


def name_of(kind: str) -> str:
    """Return what a corruption is called on the page."""
    return _NAMES.get(kind, kind.replace("_", " "))


VERDICT = Verdict(
    "corruptions",
    findings=lambda item: _of_pair(item, shared_kinds([item])),
    contrasts=lambda subject, reference: (_contrast(subject, reference, shared_kinds([subject, reference])),),
)
