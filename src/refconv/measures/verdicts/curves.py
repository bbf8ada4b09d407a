"""Accuracy against the strength of a disturbance: levels, and falls from the accuracy without any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.findings import Change
from refconv.measures.judging import Difference, share_error
from refconv.measures.numbers import percent
from refconv.measures.wording import SURENESS

CONSERVATIVE = (
    "Standard errors are binomial and take all accuracies as independent, though they are of the same samples: real "
    "differences are somewhat surer than stated here."
)

_DIGITS = 12  # of a difference of shares; what is left beyond them is rounding

Shares = Sequence[float]


@dataclass(frozen=True)
class Level:
    """Accuracy of one model, undisturbed and disturbed.

    Attributes:
        clean: share of samples right without a disturbance.
        hit: the same with it, or the mean of such shares over several.
        error: standard error of `hit`.
        samples: how many samples.
    """

    clean: float
    hit: float
    error: float
    samples: int

    @property
    def fall(self) -> float:
        """What the disturbance costs, in accuracy."""
        return self.clean - self.hit


def level(clean: float, hits: Shares, samples: int) -> Level:
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


def cost_words(before: Level, after: Level, names: tuple[str, str] = ("before", "after")) -> str:
    """Return what a disturbance takes from two models, as the rest of a sentence that begins with it."""
    found = fall_difference(before, after)
    change = found.judged(lower=True)
    against = "" if judged(before, after) == change else ", but accuracy under it says otherwise"
    return (
        f"takes {_points(before.fall)} points of accuracy {names[0]} ({_from_to(before)}) and {_points(after.fall)} "
        f"{names[1]} ({_from_to(after)}): {SURENESS[change]}{against} (standard error of the difference "
        f"{_points(found.error)})"
    )


def _from_to(one: Level) -> str:
    return f"{percent(one.clean)} to {percent(one.hit)}"


def _points(value: float | None) -> str:
    return percent(value).removesuffix(" %")
