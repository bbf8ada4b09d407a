"""How the models of a page came about: the certificate of the merge, the cost, and the provenance of all numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.facts import CertificateFacts, DataFacts, RunFacts, SideFacts
from refconv.measures.numbers import MISSING, count, number, percent
from refconv.measures.pairs import ModelPair
from refconv.report.elements import Table
from refconv.report.results import course
from refconv.sentences import capital

_SHOWN = 3  # differences that are named
SAME = "the same"


@dataclass(frozen=True)
class Check:
    """One thing that was checked, whether it is as it should be (None: not checked), and the result in a few words."""

    what: str
    holds: bool | None
    text: str


def checks(run: RunFacts | None) -> tuple[Check, ...]:
    """Return what the certificate in a run's record says; nothing if there is none."""
    if run is None:
        return ()
    found = run.certificate
    keys = [*_named("missing", found.missing), *_named("surplus", found.surplus)]
    keys += ["in another order"] if found.reordered else []
    differing = {"shapes": found.shapes, "types of numbers": found.dtypes, "classes of modules": found.classes}
    differing |= {"gradient flags": found.flags}
    differing |= {"values that are no tensors": found.values} if found.values else {}
    largest = f"largest difference {number(found.largest_kernel_difference)} over {count(found.kernels, 'kernel')}"
    return (
        Check("keys and their order", not keys, "; ".join(keys) or SAME),
        *(Check(what, not names, "; ".join(_named("different", names)) or SAME) for what, names in differing.items()),
        Check("kernels", found.largest_kernel_difference <= found.tolerance, largest),
        _outputs(found),
    )


def _outputs(found: CertificateFacts) -> Check:
    relative = found.relative_output_difference
    if relative is None:
        return Check("outputs", None, "not compared")
    holds = relative <= found.tolerance
    if holds and found.uncompared:
        return Check("outputs", None, f"not all compared: {', '.join(found.uncompared[:_SHOWN])}")
    word = "identical" if relative == 0 else "equal to rounding" if holds else "different"
    numbers = f"largest relative difference {number(relative)}, tolerance {number(found.tolerance, 2)}"
    on = f" on a batch of {found.batch}" if found.batch else ""
    agreed = found.top1_agreement
    same = f"; the same class for {percent(agreed)} of it" if agreed is not None else ""
    return Check("outputs", holds, f"{word}{on}: {numbers}{same}")


def _named(word: str, names: Sequence[str]) -> list[str]:
    more = ", ..." if len(names) > _SHOWN else ""
    return [f"{len(names)} {word}: {', '.join(names[:_SHOWN])}{more}"] if names else []


def certified(found: Sequence[Check]) -> str:
    """Return a certificate in a few words."""
    if not found:
        return "none on record"
    if any(check.holds is False for check in found):
        return f"fails: {', '.join(check.what for check in found if check.holds is False)}"
    return "holds" if all(check.holds for check in found) else "holds, but not everything was checked"


def certificate(found: Sequence[Check]) -> str:
    """Return a certificate in full, what fails first."""
    if not found:
        return "The second model is not the result of a run of refconv, so nothing was certified."
    same = ", ".join(check.what for check in found if check.holds and check.text == SAME)
    parts = [f"{check.what}: {check.text}" for check in found if check.holds is False]
    parts += [f"the same: {same}"] if same else []
    parts += [f"{check.what}: {check.text}" for check in found if check.holds is not False and check.text != SAME]
    return " ".join(f"{capital(part)}." for part in parts)


def parameters(pairs: Sequence[ModelPair]) -> str:
    """Say whether what is shipped has as many parameters as what came in."""
    start = pairs[0].facts.before.parameters
    grown = [pair for pair in pairs if pair.facts.after.parameters != start]
    if not grown:
        whole = "network" if len(pairs) == 1 else "networks"
        return f"The {whole} shipped and the start have exactly as many parameters: {start:,}."
    named = ", ".join(f"{pair.name} {pair.facts.after.parameters:,}" for pair in grown)
    return f"The start has {start:,} parameters; another number is shipped by {named}."


_COSTS: dict[str, Callable[[RunFacts], str | None]] = {
    "method of training": lambda run: run.method,
    "kernels refocused": lambda run: f"{run.sites:,}" if run.space else None,
    "in which space": lambda run: run.space,
    "parameters trained": lambda run: f"{run.parameters_trained:,}",
    "of these, refocus weights, never shipped": lambda run: f"{run.extra_parameters:,}",
    "training samples seen": lambda run: f"{run.samples_seen:,}",
    "epochs": lambda run: f"{run.epochs:,}",
    "steps": lambda run: f"{run.steps:,}",
    "time of training": lambda run: duration(run.seconds),
}


def costs(pairs: Sequence[ModelPair]) -> Table:
    """Return a row per cost, a column per pair; costs that no run recorded are left out."""
    runs = [pair.facts.after.training for pair in pairs]
    rows = [(title, *((run and shown(run)) or MISSING for run in runs)) for title, shown in _COSTS.items()]
    shipped = ("parameters shipped", *(f"{pair.facts.after.parameters:,}" for pair in pairs))
    known = [row for row in rows if any(cell != MISSING for cell in row[1:])]
    return Table("What each model cost to train and costs to use", ("", *(p.name for p in pairs)), (shipped, *known))


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


Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Provenance:
    """Facts of all pairs, and of each by its name; what was left out, by measure, reason and pairs, empty for all."""

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
        parts.append(f"about {duration(data.max_seconds)} for all measures")
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
