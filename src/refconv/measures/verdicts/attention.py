"""Where the models look, on a few chosen images."""

from __future__ import annotations

import math

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared

ALIKE = 0.95
"""Correlation from which on two maps count as the same."""

CLOSE = 0.01
"""Difference of mean correlations up to which two pairs count as the same."""


def _correlations(item: Measured) -> list[float]:
    return [shown.correlation for shown in item.record.shown if shown.correlation is not None]


def _alike(item: Measured) -> Finding:
    values, images = _correlations(item), count(len(item.record.shown), "chosen image")
    if not values:
        return Finding(item.name, f"On {images} there are no two maps that can be compared.", "unclear")
    change: Change = "same" if min(values) >= ALIKE else "different"
    if len(values) == 1:
        text = f"On {count(1, 'chosen image')} with two maps these correlate with {number(values[0])}."
        return Finding(item.name, text, change)
    mean = math.fsum(values) / len(values)
    text = (
        f"On {count(len(values), 'chosen image')} the maps before and after correlate with {number(mean)} on average, "
        f"between {number(min(values))} and {number(max(values))}."
    )
    return Finding(item.name, text, change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = _correlations(subject), _correlations(reference)
    if not mine or not theirs:
        text = f"The maps of {subject.name} and {reference.name} cannot be compared: one of them has none."
        return Finding(subject.name, text, "unclear")
    means = [math.fsum(values) / len(values) for values in (mine, theirs)]
    images = [{shown.place for shown in item.record.shown} for item in (subject, reference)]
    where = "the same images" if images[0] == images[1] else "images chosen for each pair"
    words = compared(number, reference.name, *means)
    text = f"With the start the maps of {subject.name} correlate with {words}, on {where}."
    return Finding(subject.name, text, "same" if abs(means[0] - means[1]) <= CLOSE else "different")


VERDICT = Verdict(
    "attention",
    findings=lambda item: (_alike(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
