"""What the models of the pairs cost: parameters shipped, parameters trained, samples seen, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refconv.measures.numbers import MISSING
from refconv.measures.pairs import Pair
from refconv.report.elements import Table


def parameters(pairs: Sequence[Pair]) -> str:
    """Say whether what is shipped has as many parameters as what came in."""
    start = pairs[0].facts["before"]["parameters"]
    grown = [pair for pair in pairs if pair.facts["after"]["parameters"] != start]
    if not grown:
        whole = "network" if len(pairs) == 1 else "networks"
        return f"The {whole} shipped and the start have exactly as many parameters: {start:,}."
    named = ", ".join(f"{pair.name} {pair.facts['after']['parameters']:,}" for pair in grown)
    return f"The start has {start:,} parameters; another number is shipped by {named}."


def table(pairs: Sequence[Pair]) -> Table:
    """Return a row per cost, a column per pair; costs that no run recorded are left out."""
    runs = [pair.facts["after"].get("run") or {} for pair in pairs]
    rows = [(title, *(_cell(run, shown) for run in runs)) for title, shown in _ROWS]
    shipped = ("parameters shipped", *(f"{pair.facts['after']['parameters']:,}" for pair in pairs))
    known = [row for row in rows if any(cell != MISSING for cell in row[1:])]
    return Table("What each model cost to train and costs to use", ("", *(p.name for p in pairs)), (shipped, *known))


def _cell(run: Mapping[str, Any], shown: Callable[[Mapping[str, Any]], str | None]) -> str:
    return (shown(run) if run else None) or MISSING


def _integer(key: str) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda run: None if run.get(key) is None else f"{run[key]:,}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> duration(2.51), duration(95), duration(7980)
        ('2.5 s', '1 min 35 s', '2 h 13 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


_ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str | None]], ...] = (
    ("method of training", lambda run: run.get("method")),
    ("kernels refocused", lambda run: f"{run['sites']:,}" if run.get("space") else None),
    ("in which space", lambda run: run.get("space")),
    ("parameters trained", _integer("parameters_trained")),
    ("of these, refocus weights, never shipped", _integer("extra_parameters")),
    ("training samples seen", _integer("samples_seen")),
    ("epochs", _integer("epochs")),
    ("steps", _integer("steps")),
    ("time of training", lambda run: duration(run["seconds"]) if run.get("seconds") is not None else None),
)
