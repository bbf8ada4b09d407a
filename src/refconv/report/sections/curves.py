"""Accuracy against the strength of a disturbance: levels, and falls from the accuracy without any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from refconv.measures.findings import Change
from refconv.measures.judging import Difference, share_error, share_interval
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured, models
from refconv.measures.wording import SURENESS
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Table

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


def accuracy_chart(
    items: Sequence[Measured],
    curve: Callable[[Any], Any],
    *,
    title: str,
    x_label: str,
    scale: float = 1.0,
) -> Markup:
    """Return accuracy against strength for the start and each pair, with 95 % intervals.

    Args:
        items: the pairs.
        curve: which curve of a model's record.
        title: of the chart.
        x_label: of the strengths.
        scale: what strengths are multiplied by.
    """
    lines = []
    for role, name, record in models(items):
        found = curve(record)
        bounds = [share_interval(share, record.samples) for share in found.accuracy]
        lines.append(
            Line(
                name,
                role,
                [scale * strength for strength in found.strengths],
                [100 * share for share in found.accuracy],
                low=[100 * low for low, _ in bounds],
                high=[100 * high for _, high in bounds],
            )
        )
    return line_chart(lines, title=title, x_label=x_label, y_label="accuracy, %", y_range=(0, 100))


def accuracy_table(
    items: Sequence[Measured],
    curve: Callable[[Any], Any],
    *,
    caption: str,
    strength: str,
    show: Callable[[float], str],
) -> Table:
    """Return accuracy against strength as a table, a column per model.

    Args:
        items: the pairs.
        curve: which curve of a model's record.
        caption: of the table.
        strength: what strengths are called.
        show: a strength as text.
    """
    columns = [(name, curve(record)) for _, name, record in models(items)]
    values = [dict(zip(found.strengths, found.accuracy, strict=True)) for _, found in columns]
    strengths = sorted({place for column in values for place in column})
    rows = tuple((show(place), *(percent(column.get(place)) for column in values)) for place in strengths)
    return Table(caption, (strength, *(name for name, _ in columns)), rows)
