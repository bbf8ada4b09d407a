"""How pages show a difference over seeds."""

from __future__ import annotations

from refconv.studies.statistics import Interval
from refconv.task_measures import Measure


def shown(interval: Interval | None, measure: Measure) -> str:
    """Return a difference with its interval, set in bold where that excludes zero and seeds are enough."""
    if interval is None:
        return ""
    mean = measure.shown(interval.mean, signed=True)
    if interval.low is None or interval.high is None:
        return mean
    text = f"{mean} ({measure.shown(interval.low, signed=True)} to {measure.shown(interval.high, signed=True)})"
    return f"**{text}**" if interval.side else text
