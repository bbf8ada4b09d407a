"""The result of each pair: the measure of the task, the certificate, the cost and the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.findings import Support
from refconv.measures.pairs import ModelPair
from refconv.report import results, runs
from refconv.report.elements import Figure, Section, Table
from refconv.report.intervals import intervals_figure

WORDS: tuple[Support, ...] = ("supported", "contradicted", "undecided")

_CAUTION = (
    "An interval says what other test samples of the same kind would give for these very models (Newcombe 1998, "
    "method 10 for paired shares; McNemar's exact test). It says nothing about other seeds of training: two runs of "
    "one recipe differ, too. For that, train five seeds or more side by side with refconv compare."
)
_NO_INTERVAL = "A difference between two single numbers may be chance; refconv compare with five seeds or more tells."


@dataclass(frozen=True)
class PairVerdict:
    """What came of one pair: in one line, for a reader who has the numbers before them, in a few words, in full.

    Whether the certificate of the merge holds, what it says, and how many claims the pair supports and contradicts.
    """

    name: str
    headline: str
    brief: str
    conclusion: str
    result: results.Result
    sentence: str
    merged: str
    certificate: str
    claims: Mapping[Support, int]


@dataclass(frozen=True)
class ClaimRow:
    """A claim, and what each pair says of it; None where the pair has no records for it."""

    section: str
    says: str
    source: str
    supports: tuple[Support | None, ...]


@dataclass(frozen=True)
class Verdict:
    """The first section: what the pairs are judged by, what came of each and beyond one another, cost and claims.

    Attributes:
        figure: all differences with their intervals; None where no interval is known.
        caution: what an interval says and what it does not.
        parameters: whether as many parameters are shipped as came in.
    """

    measure: str
    pairs: tuple[PairVerdict, ...]
    contrasts: tuple[str, ...]
    figure: Figure | None
    caution: str
    parameters: str
    costs: Table
    claims: tuple[ClaimRow, ...]

    @property
    def tally(self) -> str:
        """How many claims are supported, contradicted and undecided, over all pairs that were refocused."""
        total = {word: sum(pair.claims[word] for pair in self.pairs) for word in WORDS}
        return ", ".join(f"{number} {word}" for word, number in total.items())


def verdict(pairs: Sequence[ModelPair], sections: Sequence[Section]) -> Verdict:
    """Return what the page begins with, given pairs of one start with names of their own, and all sections."""
    found = [results.result(pair) for pair in pairs]
    between = results.contrasts(pairs)
    claims = [(section, claim) for section in sections if (claim := section.claim) is not None]
    return Verdict(
        measure=found[0].title,
        pairs=tuple(_of_pair(pair, result, sections) for pair, result in zip(pairs, found, strict=True)),
        contrasts=tuple(map(results.contrast_sentence, between)),
        figure=intervals_figure(found, between),
        caution=_CAUTION if any(result.paired is not None for result in found) else _NO_INTERVAL,
        parameters=runs.parameters(pairs),
        costs=runs.costs(pairs),
        claims=tuple(
            ClaimRow(section.name, claim.says, claim.source, tuple(_support(section, pair.name) for pair in pairs))
            for section, claim in claims
        ),
    )


def _of_pair(pair: ModelPair, result: results.Result, sections: Sequence[Section]) -> PairVerdict:
    checks = runs.checks(pair.facts.after.training)
    course = results.course(pair) if result.difference is None else ""
    claims = [_support(section, pair.name) for section in sections]
    return PairVerdict(
        name=pair.name,
        headline=results.headline(result),
        brief=results.brief(result),
        conclusion=results.conclusion(result),
        result=result,
        sentence=results.sentence(result, _samples(pair, result)) + (f" In training, {course}." if course else ""),
        merged=runs.certified(checks),
        certificate=runs.certificate(checks),
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
