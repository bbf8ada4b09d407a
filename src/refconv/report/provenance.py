"""How a report was made: which models, which data, on what, by which command, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.facts import DataFacts, SideFacts
from refconv.measures.numbers import MISSING, count
from refconv.measures.pairs import ModelPair
from refconv.report.results import course
from refconv.report.runs import duration

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Provenance:
    """The last section of the page: facts that hold for all pairs, and for each pair by its name; what was left out.

    What was left out is said by measure, reason and the names of the pairs, empty for all.
    """

    shared: Facts
    each: tuple[tuple[str, Facts], ...]
    commands: tuple[str, ...]
    left_out: tuple[tuple[str, str, str], ...]


def provenance(pairs: Sequence[ModelPair]) -> Provenance:
    """Return how the pairs of a page came about; what is the same in all of them is said once."""
    facts = [_facts(pair) for pair in pairs]
    names = list(dict.fromkeys(name for one in facts for name in one))
    same = {name for name in names if len({one.get(name) for one in facts}) == 1}
    return Provenance(
        shared=tuple((name, facts[0][name]) for name in names if name in same),
        each=tuple(
            (pair.name, tuple((name, value) for name, value in one.items() if name not in same))
            for pair, one in zip(pairs, facts, strict=True)
        ),
        commands=tuple(dict.fromkeys(pair.facts.command for pair in pairs if pair.facts.command)),
        left_out=_left_out(pairs),
    )


def _facts(pair: ModelPair) -> dict[str, str]:
    facts, run = pair.facts, pair.facts.after.training
    found = {
        "model": facts.model,
        "task": facts.task,
        "before": facts.before.reference,
        "after": facts.after.reference,
        "weights before": _fingerprint(facts.before),
        "weights after": _fingerprint(facts.after),
        "data": _data(facts.data),
        **({"images": facts.images} if facts.images else {}),
        "measured on": facts.hardware or MISSING,
        "time of measuring": _time(facts.measured),
        "versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or MISSING,
    }
    if run is not None:
        found["trained by"] = f"{run.command} (seed {run.seed}, {run.data})"
        found["trained on"] = run.hardware
        if words := course(pair):
            found["start and end of training"] = words
    return found


def _fingerprint(side: SideFacts) -> str:
    fingerprint = side.fingerprint or MISSING
    return fingerprint if len(fingerprint) <= 16 else f"{fingerprint[:16]}…"


def _data(data: DataFacts | None) -> str:
    if data is None:
        return "none: weights alone were measured"
    parts = [f"{data.name}, {data.split} split"]
    if data.max_samples is not None:
        parts.append(f"at most {count(data.max_samples, 'sample')} a measure")
    if data.max_seconds is not None:
        parts.append(f"at most {duration(data.max_seconds)} a measure")
    return ", ".join(parts)


def _time(measured: Mapping[str, float]) -> str:
    if not measured:
        return MISSING
    longest = max(measured, key=lambda name: measured[name])
    named = longest.replace("_", " ")
    return f"{duration(sum(measured.values()))} in all, {duration(measured[longest])} for {named} alone"


def _left_out(pairs: Sequence[ModelPair]) -> tuple[tuple[str, str, str], ...]:
    whose: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        for name, reason in pair.facts.left_out.items():
            whose.setdefault((name.replace("_", " "), reason), []).append(pair.name)
    return tuple((*what, "" if len(names) == len(pairs) else ", ".join(names)) for what, names in whose.items())
