"""Robustness: how accuracy falls under attacks and corruptions, and how often a class survives a shift.

The records and their verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.judging import SURENESS, Change, Difference, agreed, share_error
from refconv.measures.numbers import compared, count, course, number, percent, points
from refconv.measures.pairs import Measured, models
from refconv.measures.tables import Sampled, counted, text_table
from refconv.measures.verdict import JOURNAL, Said, Tested, Verdict, claim, worded
from refconv.records import Record


@dataclass(frozen=True)
class Curve(Record):
    """Accuracy against the strength of one perturbation."""

    kind: str  #: the perturbation
    strengths: tuple[float, ...]  #: shares of the range of pixels, or 0 to 5 for corruptions; ascending, 0 first
    accuracy: tuple[float, ...]  #: share of samples classified rightly at each, 0 to 1
    mean: float  #: mean accuracy over the strengths above 0


@dataclass(frozen=True)
class AdversarialRobustness(Sampled):
    """Accuracy of a classifier under attacks that know it: ``fgsm``, and ``pgd`` of so many ``steps``."""

    steps: int
    curves: tuple[Curve, ...]

    def __str__(self) -> str:
        text = _curves_table(self.curves, [f"{255 * radius:.3g} / 255" for radius in self.curves[0].strengths])
        return f"{text}\n{counted(self)}, {self.steps} steps of PGD"


@dataclass(frozen=True)
class CorruptionRobustness(Sampled):
    """Accuracy of a classifier under common corruptions."""

    table: str  #: whose strengths these are, ``ImageNet-C`` or ``CIFAR-10-C``
    curves: tuple[Curve, ...]  #: a row per corruption
    mean: float  #: mean accuracy over corruptions and strengths above 0
    left_out: dict[str, str]  #: corruptions that these images do not take, and why

    def __str__(self) -> str:
        lines = [_curves_table(self.curves, [f"strength {strength:g}" for strength in self.curves[0].strengths])]
        lines += [f"{kind} left out: {reason}" for kind, reason in self.left_out.items()]
        return "\n".join([*lines, f"{counted(self)}, strengths of {self.table}; mean {self.mean:.1%}"])


@dataclass(frozen=True)
class ShiftConsistency(Sampled):
    """How often a classifier keeps its class under shifts, right or wrong."""

    pixels: tuple[int, ...]  #: the distances, 1 to the largest
    same: tuple[float, ...]  #: per distance, share of (image, direction) that keep the class, over four directions
    stable: tuple[float, ...]  #: per distance, share of images that keep it under all shifts up to that distance
    accuracy: tuple[float, ...]  #: per distance, share of (image, direction) classified rightly
    clean_accuracy: float  #: share of images classified rightly without a shift

    def __str__(self) -> str:
        found = zip(self.pixels, self.same, self.stable, self.accuracy, strict=True)
        rows = [(pixels, *(f"{share:.1%}" for share in shares)) for pixels, *shares in found]
        header = ("pixels", "class stays", "under all so far", "accuracy")
        return f"{text_table(header, [(0, '', '', f'{self.clean_accuracy:.1%}'), *rows])}\n{counted(self)}"


def _curves_table(curves: Sequence[Curve], columns: Sequence[str]) -> str:
    rows = [(curve.kind, *(f"{value:.1%}" for value in (*curve.accuracy, curve.mean))) for curve in curves]
    return text_table(("accuracy", *columns, "mean above 0"), rows)


CONSERVATIVE = (
    "Standard errors are binomial and take all accuracies as independent, though they are of the same samples: real "
    "differences are somewhat surer than stated here."
)

_DIGITS = 12  # of a difference of shares; what is left beyond them is rounding


@dataclass(frozen=True)
class Level:
    """Accuracy of one model on so many samples, undisturbed (clean) and disturbed (hit, with its standard error)."""

    clean: float
    hit: float
    error: float
    samples: int

    @property
    def fall(self) -> float:
        """What the disturbance costs, in accuracy."""
        return self.clean - self.hit


def level(clean: float, hits: Sequence[float], samples: int) -> Level:
    """Return the accuracy without a disturbance and its mean under one or several.

    The error of the mean is the mean of the errors, as if all disturbances hit the same samples.
    """
    errors = [share_error(hit, samples) for hit in hits]
    return Level(clean, math.fsum(hits) / len(hits), math.fsum(errors) / len(errors), samples)


def fall_difference(before: Level, after: Level) -> Difference:
    """Return how the fall changed, below 0 where the second model falls less."""
    errors = [error for one in (before, after) for error in (one.error, share_error(one.clean, one.samples))]
    return Difference(round(after.fall - before.fall, _DIGITS), math.hypot(*errors))


def judged(before: Level, after: Level) -> Change:
    """Return whether a model became more robust.

    It did where it falls less, by more than chance, and is not less accurate under the disturbance: a model that is
    worse throughout falls less deep as well.
    """
    found = fall_difference(before, after).judged(lower=True)
    speaks_against = (found == "better" and after.hit < before.hit) or (found == "worse" and after.hit > before.hit)
    return "unclear" if speaks_against else found


def _cost(what: str, before: Level, after: Level, names: Sequence[str] = ("before", "after")) -> Tested:
    """Return what a disturbance takes from two models."""
    found = fall_difference(before, after)
    change, sure = judged(before, after), found.judged(lower=True)
    takes = [
        f"{_points(one.fall)}{of} {name} ({percent(one.clean)} to {percent(one.hit)})"
        for one, name, of in zip((before, after), names, (" points of accuracy", ""), strict=True)
    ]
    against = "" if change == sure else ", but accuracy under it says otherwise"
    error = f"(standard error of the difference {_points(found.error)})"
    return f"{what} takes {takes[0]} and {takes[1]}: {SURENESS[sure]}{against} {error}.", change, found.p


def _points(value: float | None) -> str:
    return percent(value).removesuffix(" %")


def curves_of(record: Any) -> dict[str, Curve]:
    """Return the curves of a model's record by their kind."""
    return {curve.kind: curve for curve in record.curves}


LEVELS = 255  #: Steps of a pixel, in which radii are given
ATTACK_NAMES = {"pgd": "PGD", "fgsm": "FGSM"}  #: Attacks, the stronger first

_WORDS: dict[Change, str] = {
    "better": "Under PGD accuracy falls less after than before",
    "worse": "Under PGD accuracy falls more after than before",
    "same": "Under PGD accuracy falls as much after as before",
    "unclear": "Under PGD the later model is neither clearly more robust nor clearly less",
}


def telling_radius(record: Any) -> float:
    """Return the radius at which PGD leaves a model nearest to half of its accuracy.

    There it is neither at its accuracy without an attack nor at zero, so that models can be told apart.
    """
    curve = curves_of(record)["pgd"]
    half = curve.accuracy[0] / 2
    rows = list(zip(curve.strengths, curve.accuracy, strict=True))[1:]
    radius, _ = min(rows, key=lambda row: (abs(row[1] - half), row[0] if row[1] < half else -row[0]))
    return float(radius)


def attacked(record: Any, kind: str, radius: float) -> Level:
    """Return the accuracies of a model without an attack and under one of about this radius."""
    curve = curves_of(record)[kind]
    values = dict(zip(curve.strengths, curve.accuracy, strict=True))
    nearest = min((strength for strength in values if strength), key=lambda strength: abs(strength - radius))
    return level(curve.accuracy[0], [values[nearest]], record.samples)


def _attack(kind: str, first: Any, second: Any, radius: float, *names: str) -> Tested:
    what = f"{ATTACK_NAMES[kind]} at {number(LEVELS * radius)} / 255"
    levels = attacked(first, kind, radius), attacked(second, kind, radius)
    return _cost(what, *levels, names or ("before", "after"))


def _attack_contrast(subject: Measured, reference: Measured) -> Iterator[Said]:
    names = f"with {reference.name}", f"with {subject.name}"
    yield _attack("pgd", reference.after, subject.after, telling_radius(reference.before), *names)


ATTACKS = Verdict(
    "attacks",
    lambda item: (_attack(kind, *item.sides, telling_radius(item.before)) for kind in ATTACK_NAMES),
    _attack_contrast,
    lambda items: claim(
        "Refocusing makes a model more robust to adversarial attacks.",
        JOURNAL,
        items,
        lambda item: worded(_attack("pgd", *item.sides, telling_radius(items[0].before))[1], _WORDS),
        lambda item, plain: _attack("pgd", plain.after, item.after, telling_radius(items[0].before))[1],
    ),
)

_CORRUPTION_NAMES = {
    "gaussian_noise": "Gaussian noise",
    "gaussian_blur": "Gaussian blur",
    "contrast": "less contrast",
    "brightness": "more brightness",
    "jpeg_compression": "JPEG compression",
}


def corruption_name(kind: str) -> str:
    """Return what a corruption is called on the page."""
    return _CORRUPTION_NAMES.get(kind, kind.replace("_", " "))


def shared_kinds(items: Sequence[Measured]) -> list[str]:
    """Return the corruptions that all models met, in the order of the records."""
    found = [curves_of(record) for _, _, record in models(items)]
    return [kind for kind in found[0] if all(kind in curves for curves in found)]


def corrupted(record: Any, kinds: Sequence[str]) -> Level:
    """Return the accuracy of a model without corruption and its mean under some."""
    curves = curves_of(record)
    hits = [share for kind in kinds for share in curves[kind].accuracy[1:]]
    return level(curves[kinds[0]].accuracy[0], hits, record.samples)


def _corruption(item: Measured) -> Iterator[Said]:
    kinds = shared_kinds([item])
    if not kinds:
        yield "The models met no corruption in common.", "unclear"
        return
    before, after = (corrupted(side, kinds) for side in item.sides)
    yield _cost("Corruption, on average over kinds and strengths,", before, after)
    if len(kinds) > 1:
        by_kind = {kind: (corrupted(item.before, [kind]), corrupted(item.after, [kind])) for kind in kinds}
        most = max(kinds, key=lambda kind: abs(fall_difference(*by_kind[kind]).value or 0.0))
        text, change, _ = _cost(f"The cost changed most for {corruption_name(most)}, which", *by_kind[most])
        yield text, change


def _corruption_contrast(subject: Measured, reference: Measured) -> Iterator[Said]:
    kinds = shared_kinds([subject, reference])
    if not kinds:
        yield f"{subject.name} and {reference.name} met no corruption in common.", "unclear"
        return
    levels = corrupted(reference.after, kinds), corrupted(subject.after, kinds)
    yield _cost("Corruption", *levels, (f"with {reference.name}", f"with {subject.name}"))


CORRUPTIONS = Verdict("corruptions", _corruption, _corruption_contrast)


def consistency(first: Any, second: Any) -> tuple[int, Difference]:
    """Return the largest distance that both records have, and how consistency differs there.

    The four shifts of an image count as one sample, which is on the safe side.
    """
    pixels = max(set(first.pixels) & set(second.pixels))
    return pixels, _shares_difference((first, second), [_at(record, "same", pixels) for record in (first, second)])


def _at(record: Any, key: str, pixels: int) -> float:
    return float(getattr(record, key)[record.pixels.index(pixels)])


def _shares_difference(records: Sequence[Any], shares: Sequence[float]) -> Difference:
    errors = (share_error(share, record.samples) for share, record in zip(shares, records, strict=True))
    return Difference(shares[1] - shares[0], math.hypot(*errors))


def _more_consistent(first: Any, second: Any) -> Change:
    """Return whether the second model is more consistent; if it is less accurate, that is only different."""
    change = consistency(first, second)[1].judged()
    accuracy = _shares_difference((first, second), [record.clean_accuracy for record in (first, second)])
    return "different" if change == "better" and accuracy.judged() == "worse" else change


def _shift(item: Measured) -> Iterator[Said]:
    pixels, found = consistency(*item.sides)
    same, moved = ([_at(side, key, pixels) for side in item.sides] for key in ("same", "accuracy"))
    still = [side.clean_accuracy for side in item.sides]
    text = (
        f"The share of shifts by {count(pixels, 'pixel')} that keep the class {course(percent, *same)} "
        f"({points(found.value)} points, standard error {points(found.error).lstrip('+')}: {SURENESS[found.judged()]})."
    )
    yield text, _more_consistent(*item.sides), found.p
    text = (
        f"Accuracy on images in place {course(percent, *still)}, on images shifted by {count(pixels, 'pixel')} it "
        f"{course(percent, *moved)}."
    )
    yield text, agreed([_shares_difference(item.sides, shares).judged() for shares in (still, moved)])


def _shift_contrast(subject: Measured, reference: Measured) -> Iterator[Said]:
    pixels, found = consistency(reference.after, subject.after)
    shares = [_at(item.after, "same", pixels) for item in (subject, reference)]
    text = (
        f"With {subject.name} the share of shifts by {count(pixels, 'pixel')} that keep the class is "
        f"{compared(percent, reference.name, *shares)} ({SURENESS[found.judged()]})."
    )
    yield text, _more_consistent(reference.after, subject.after), found.p


SHIFTS = Verdict("shifts", _shift, _shift_contrast)
