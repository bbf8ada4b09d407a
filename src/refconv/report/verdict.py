"""The result of each pair: the measure of the task, the certificate, the cost and the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.findings import Support
from refconv.measures.numbers import count
from refconv.measures.pairs import Pair
from refconv.report import certificate, cost, results
from refconv.report.elements import Figure, Section, Table
from refconv.report.intervals import intervals_figure

WORDS: tuple[Support, ...] = ("supported", "contradicted", "undecided")
"""What pairs say of claims."""

_CAUTION = (
    "An interval says what other test samples of the same kind would give for these very models (Newcombe 1998, "
    "method 10 for paired shares; McNemar's exact test). It says nothing about other seeds of training: two runs of "
    "one recipe differ, too. For that, train five seeds or more side by side with refconv compare."
)
_NO_INTERVAL = "A difference between two single numbers may be chance; refconv compare with five seeds or more tells."


@dataclass(frozen=True)
class PairVerdict:
    """What came of one pair.

    Attributes:
        name: the pair's.
        headline: the result in one line.
        brief: the same for a reader who has the numbers before them.
        conclusion: the same in a few words.
        result: the measure of the task.
        sentence: what came out, with interval and test where there are.
        merged: whether the certificate of the merge holds, in a few words.
        certificate: what it says.
        claims: how many claims it supports, contradicts and leaves undecided.
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
    """A claim and what each pair says of it.

    Attributes:
        section: the name of the section that it belongs to.
        says: the claim.
        source: who claims it.
        supports: per pair; None where the pair has no records for it.
    """

    section: str
    says: str
    source: str
    supports: tuple[Support | None, ...]


@dataclass(frozen=True)
class Verdict:
    """The first section as plain data.

    Attributes:
        measure: what the pairs are judged by, as a heading.
        pairs: what came of each.
        contrasts: what the pairs do beyond one another, a sentence each.
        figure: all differences with their intervals; None where no interval is known.
        caution: what an interval says and what it does not.
        parameters: whether as many parameters are shipped as came in.
        costs: a row per cost, a column per pair.
        claims: a row per claim.
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


def verdict(pairs: Sequence[Pair], sections: Sequence[Section]) -> Verdict:
    """Return what the page begins with.

    Args:
        pairs: one or more, of one start, with names of their own.
        sections: all that follow on the page.
    """
    found = [results.result(pair) for pair in pairs]
    between = results.contrasts(pairs)
    paired = any(result.paired is not None for result in found)
    return Verdict(
        measure=found[0].measure.title,
        pairs=tuple(_of_pair(pair, result, sections) for pair, result in zip(pairs, found, strict=True)),
        contrasts=tuple(results.contrast_sentence(result) for result in between),
        figure=intervals_figure(found, between),
        caution=_CAUTION if paired else _NO_INTERVAL,
        parameters=cost.parameters(pairs),
        costs=cost.table(pairs),
        claims=tuple(
            ClaimRow(section.name, claim.says, claim.source, tuple(_support(section, pair.name) for pair in pairs))
            for section in sections
            if (claim := section.claim) is not None
        ),
    )


def _of_pair(pair: Pair, result: results.Result, sections: Sequence[Section]) -> PairVerdict:
    checks = certificate.checks(pair.facts["after"].get("run"))
    conclusion = results.conclusion(result)
    course = results.course(pair) if result.difference is None else ""
    claims = [_support(section, pair.name) for section in sections]
    return PairVerdict(
        name=pair.name,
        headline=_headline(result, conclusion),
        brief=_brief(result, conclusion),
        conclusion=conclusion,
        result=result,
        sentence=results.sentence(result, _samples(pair, result)) + (f" In training, {course}." if course else ""),
        merged=certificate.summary(checks),
        certificate=certificate.sentence(checks),
        claims={word: claims.count(word) for word in WORDS},
    )


def _brief(found: results.Result, conclusion: str) -> str:
    if found.paired is None:
        return _headline(found, conclusion)
    gained, lost = count(found.paired.gained, found.measure.samples), f"{found.paired.lost:,}"
    return f"{conclusion} ({gained} gained, {lost} lost, McNemar's p {results.p_value(found.paired.p)})"


def _headline(found: results.Result, conclusion: str) -> str:
    measure = found.measure
    if found.first is None and found.second is None:
        return f"{measure.title} {conclusion}: {found.why_not}"
    if found.first is None or found.second is None or found.difference is None:
        known, missing = ("after", "before") if found.first is None else ("before", "after")
        value = found.second if found.first is None else found.first
        return f"{measure.title} {measure.level(value or 0.0)} {known}, not known {missing}: {found.why_not}"
    change = measure.change(found.difference)
    interval = f" (95 % interval {found.interval})" if found.paired is not None else ""
    levels = f"{measure.level(found.first)} to {measure.level(found.second)}"
    return f"{measure.title} from {levels}, {change}{interval}: {conclusion}"


def _samples(pair: Pair, found: results.Result) -> str:
    """Return what the samples are that a sentence counts."""
    noun = (
        found.measure.samples if found.paired is not None and found.paired.samples == 1 else f"{found.measure.samples}s"
    )
    data = pair.facts.get("data") or {}
    if not data.get("name"):
        return noun
    return f"{noun} ({data['name']}, {data.get('split') or 'test'})"


def _support(section: Section, name: str) -> Support | None:
    if section.claim is None or name not in section.claim.verdicts:
        return None
    return section.claim.verdicts[name][0]
