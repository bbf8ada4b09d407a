"""How a report was made: which models, which data, on what, by which command, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.numbers import MISSING, count
from refconv.measures.pairs import Pair
from refconv.report import results
from refconv.report.cost import duration


@dataclass(frozen=True)
class Provenance:
    """The last section of the page as plain data.

    Attributes:
        shared: what holds for all pairs, as names and values.
        each: per pair its name, and what holds for it alone.
        commands: the commands that analysed the pairs.
        left_out: what was not measured: the measure, the reason and the pairs.
    """

    shared: tuple[tuple[str, str], ...]
    each: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    commands: tuple[str, ...]
    left_out: tuple[tuple[str, str, str], ...]


def provenance(pairs: Sequence[Pair]) -> Provenance:
    """Return how the pairs of a page came about; what is the same in all of them is said once."""
    facts = [dict(_facts(pair)) for pair in pairs]
    names = list(dict.fromkeys(name for one in facts for name in one))
    same = {name for name in names if len({one.get(name) for one in facts}) == 1}
    return Provenance(
        shared=tuple((name, facts[0][name]) for name in names if name in same),
        each=tuple(
            (pair.name, tuple((name, value) for name, value in one.items() if name not in same))
            for pair, one in zip(pairs, facts, strict=True)
        ),
        commands=tuple(dict.fromkeys(pair.facts["command"] for pair in pairs if pair.facts.get("command"))),
        left_out=_left_out(pairs),
    )


def _facts(pair: Pair) -> list[tuple[str, str]]:
    facts, before, after = pair.facts, pair.facts["before"], pair.facts["after"]
    versions = facts.get("versions") or {}
    found = [
        ("model", facts["model"]),
        ("task", facts.get("task") or MISSING),
        ("before", before["reference"]),
        ("after", after["reference"]),
        ("weights before", _fingerprint(before)),
        ("weights after", _fingerprint(after)),
        ("data", _data(facts.get("data"))),
        *([("images", facts["images"])] if facts.get("images") else []),
        ("measured on", facts.get("hardware") or MISSING),
        ("time of measuring", _time(facts.get("measured") or {})),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or MISSING),
    ]
    run = after.get("run")
    if run:
        found.append(("trained by", f"{run['command']} (seed {run['seed']}, {run['data']})"))
        found.append(("trained on", run["hardware"]))
        if words := results.course(pair):
            found.append(("start and end of training", words))
    return found


def _fingerprint(side: Mapping[str, Any]) -> str:
    fingerprint = str(side.get("fingerprint") or MISSING)
    return fingerprint if len(fingerprint) <= 16 else f"{fingerprint[:16]}…"


def _data(data: Mapping[str, Any] | None) -> str:
    if not data:
        return "none: weights alone were measured"
    parts = [f"{data['name']}, {data['split']} split"]
    if data.get("max_samples") is not None:
        parts.append(f"at most {count(data['max_samples'], 'sample')} a measure")
    if data.get("max_seconds") is not None:
        parts.append(f"at most {duration(data['max_seconds'])} a measure")
    return ", ".join(parts)


def _time(measured: Mapping[str, float]) -> str:
    if not measured:
        return MISSING
    longest = max(measured, key=lambda name: measured[name])
    named = longest.replace("_", " ")
    return f"{duration(sum(measured.values()))} in all, {duration(measured[longest])} for {named} alone"


def _left_out(pairs: Sequence[Pair]) -> tuple[tuple[str, str, str], ...]:
    whose: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        for name, reason in (pair.facts.get("left_out") or {}).items():
            whose.setdefault((name.replace("_", " "), reason), []).append(pair.name)
    every = len(pairs)
    return tuple(
        (name, reason, "" if len(names) == every else ", ".join(names)) for (name, reason), names in whose.items()
    )
