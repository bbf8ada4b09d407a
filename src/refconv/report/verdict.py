"""The first screen, and the result of each pair in full: the measure, the certificate, the cost and the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.facts import SideFacts
from refconv.measures.judging import Finding, Support, wilson
from refconv.measures.numbers import MISSING
from refconv.measures.pairs import ModelPair, Role
from refconv.report import provenance, results
from refconv.report.elements import Figure, Section, Table
from refconv.report.intervals import intervals_figure

UNKNOWN = "not known"
MOST = 5  # findings on the first screen
WORDS: tuple[Support, ...] = ("supported", "contradicted", "undecided")

_CAUTION = (
    "An interval says what other test samples of the same kind would give for these very models (Newcombe 1998, "
    "method 10 for paired shares; McNemar's exact test). It says nothing about other seeds of training: two runs of "
    "one recipe differ, too. For that, train five seeds or more side by side with refconv compare."
)
_NO_INTERVAL = "A difference between two single numbers may be chance; refconv compare with five seeds or more tells."


@dataclass(frozen=True)
class PairVerdict:
    """What came of one pair: its result, also in full, the certificate in a few words and in full, its claims."""

    name: str
    result: results.Result
    sentence: str
    merged: str
    certificate: str
    claims: Mapping[Support, int]


@dataclass(frozen=True)
class Verdict:
    """What the pairs are judged by, what came of each and of each beyond another, cost and claims.

    The first screen has the models by role, name and cells, the start first, and the strongest findings.
    The figure has all differences with their intervals; it is None where no interval is known. Claims are sections with
    what each pair says of theirs, None where it has no records for it.
    """

    measure: str
    models: Sequence[tuple[Role, str, tuple[str, ...]]]
    keys: tuple[tuple[Section, Finding], ...]
    pairs: tuple[PairVerdict, ...]
    contrasts: tuple[str, ...]
    figure: Figure | None
    caution: str
    parameters: str
    costs: Table
    claims: tuple[tuple[Section, tuple[Support | None, ...]], ...]

    @property
    def tally(self) -> str:
        """How many claims are supported, contradicted and undecided, over all pairs that were refocused."""
        total = {word: sum(pair.claims[word] for pair in self.pairs) for word in WORDS}
        return ", ".join(f"{number} {word}" for word, number in total.items())


def _models(pairs: Sequence[ModelPair], found: Sequence[results.Result]) -> Sequence[tuple[Role, str, tuple[str, ...]]]:
    """Return level, difference, certificate and training of each model, of pairs with one start."""
    levels = [_level(one, one.first, pair.facts.before) for one, pair in zip(found, pairs, strict=True)]
    first = next((level for level in levels if level != UNKNOWN), MISSING)
    rows: list[tuple[Role, str, tuple[str, ...]]] = [("before", "base", (first, *(MISSING,) * 3))]
    for place, (one, pair) in enumerate(zip(found, pairs, strict=True)):
        change = UNKNOWN if one.difference is None else one.change(one.difference)
        change += f" ({one.interval})" if one.interval else ""
        certificate, cost = "none on record", MISSING
        if run := pair.facts.after.training:
            certificate = provenance.certified(provenance.checks(run))
            cost = f"{provenance.duration(run.seconds)}, {run.parameters_trained:,} parameters"
        rows.append((place, pair.name, (_level(one, one.second, pair.facts.after), change, certificate, cost)))
    return rows


def keys(sections: Sequence[Section]) -> tuple[tuple[Section, Finding], ...]:
    """Return the strongest tested finding of sections: changes for the better or worse first, then by smallest p."""
    rank = {"better": 0, "worse": 0, "different": 1}
    found = []
    for section in sections:
        told = [finding for finding in section.findings if finding.p is not None and finding.change in rank]
        if told:
            # of equally strong ones the last: runs stand in the order given, and contrasts of runs after them
            found.append((section, min(reversed(told), key=lambda one: (rank[one.change], one.p))))
    return tuple(sorted(found, key=lambda key: (rank[key[1].change], key[1].p))[:MOST])


def _level(found: results.Result, value: float | None, side: SideFacts) -> str:
    """Return a level, with Wilson's interval where it is a share of samples whose number is known."""
    if value is None:
        return UNKNOWN
    level = found.level(value)
    samples = found.paired.samples if found.paired else side.training.test_samples if side.training else 0
    if found.words.primary.name != "top1" or not samples:
        return level
    low, high = wilson(round(value * samples), samples)
    return f"{level} ({found.level(low, '')} to {found.level(high, '')})"


def verdict(pairs: Sequence[ModelPair], sections: Sequence[Section]) -> Verdict:
    """Return what the page begins with, given pairs of one start with names of their own, and all sections."""
    found = [results.result(pair) for pair in pairs]
    between = results.contrasts(pairs)
    claimed = [section for section in sections if section.claim is not None]
    return Verdict(
        measure=found[0].title,
        models=_models(pairs, found),
        keys=keys(sections),
        pairs=tuple(_of_pair(pair, result, sections) for pair, result in zip(pairs, found, strict=True)),
        contrasts=tuple(map(results.contrast_sentence, between)),
        figure=intervals_figure(found, between),
        caution=_CAUTION if any(result.paired is not None for result in found) else _NO_INTERVAL,
        parameters=provenance.parameters(pairs),
        costs=provenance.costs(pairs),
        claims=tuple((section, tuple(_support(section, pair.name) for pair in pairs)) for section in claimed),
    )


def _of_pair(pair: ModelPair, result: results.Result, sections: Sequence[Section]) -> PairVerdict:
    checks = provenance.checks(pair.facts.after.training)
    course = results.course(pair) if result.difference is None else ""
    claims = [_support(section, pair.name) for section in sections]
    return PairVerdict(
        name=pair.name,
        result=result,
        sentence=results.sentence(result, _samples(pair, result)) + (f" In training, {course}." if course else ""),
        merged=provenance.certified(checks),
        certificate=provenance.certificate(checks),
        claims={word: claims.count(word) for word in WORDS},
    )


def _samples(pair: ModelPair, found: results.Result) -> str:
    """Return what the samples are that a sentence counts."""
    alone = found.paired is not None and found.paired.samples == 1
    noun = found.words.samples if alone else f"{found.words.samples}s"
    data = pair.facts.data
    return f"{noun} ({data.name}, {data.split})" if data else noun


def _support(section: Section, name: str) -> Support | None:
    found = section.claim.verdicts.get(name) if section.claim else None
    return found[0] if found else None
