"""How the records of a measure are judged: findings on each pair, contrasts of two pairs, and support of a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from refconv.measures.judging import Change, Claim, Finding, Judgement, Support
from refconv.measures.pairs import Measured, ModelPair, measured, rivals
from refconv.sentences import capital

REFCONV = "RefConv (arXiv 2310.10563)"
JOURNAL = "RefConv, journal version (IEEE TNNLS 36(6), 2025)"
Tested = tuple[str, Change, float | None]
Said = tuple[str, Change] | Tested  #: A sentence, what kind of change it tells of, and its p where something was tested


@dataclass(frozen=True)
class Verdict:
    """How the records of a measure are judged."""

    name: str  #: the measure's
    findings: Callable[[Measured], Iterable[Said]]  #: what the record says of one pair, the headline first
    #: how the result of a pair compares with that of a reference, plain training where there is such
    contrasts: Callable[[Measured, Measured], Iterable[Said]] = lambda subject, reference: ()
    #: what is claimed about the measure, and what each pair says to it
    claim: Callable[[Sequence[Measured]], Claim | None] = lambda items: None
    more: tuple[str, ...] = ()  #: measures besides the one of its name whose records are read
    has: Callable[[Measured], bool] = lambda item: True  #: whether a pair with the record has anything to judge

    def items(self, pairs: Sequence[ModelPair]) -> list[Measured]:
        """Return the pairs that it is about, in their order."""
        held = [item for name in (*self.more, self.name) for item in measured(pairs, name) if self.has(item)]
        return [item for _, item in sorted({item.role: item for item in held}.items())]

    def __call__(self, pairs: Sequence[ModelPair]) -> Judgement | None:
        """Return what is found, whatever the number of samples; None if no pair has the record."""
        items = self.items(pairs)
        if not items:
            return None
        findings = [Finding(item.name, *said) for item in items for said in self.findings(item)]
        findings += [Finding(one.name, *said) for one, other in rivals(items) for said in self.contrasts(one, other)]
        return Judgement(tuple(findings), self.claim(items))


def claim(
    says: str,
    source: str,
    items: Sequence[Measured],
    reading: Callable[[Measured], tuple[Change, str]],
    against: Callable[[Measured, Measured], Change],
) -> Claim | None:
    """Return a claim and what each pair that is not plain training says to it; None if all are.

    ``reading`` is what happened between before and after, `better` being what is claimed, with the beginning of a
    sentence on it; ``against`` is how the first of two pairs ended beside the second.
    """
    plain = next((item for item in items if item.plain), None)
    refocused = [item for item in items if not item.plain]
    verdicts = {item.name: verdict(*reading(item), against(item, plain) if plain else None) for item in refocused}
    return Claim(says, source, verdicts) if verdicts else None


def worded(change: Change, words: Mapping[Change, str]) -> tuple[Change, str]:
    """Return a change with its words."""
    return change, words[change]


def verdict(change: Change, words: str, beside: Change | None) -> tuple[Support, str]:
    """Return whether a change, in ``words``, supports a claim, and a sentence why.

    A change for the better supports the claim only where the pair also ended better than plain training from the same
    start, by the same criterion: what plain training changes alike speaks for training, not for refocusing. A change
    for the worse contradicts it unless plain training ended worse still. Without plain training nothing is decided:
    ``beside``, how the pair ended beside it, is None.
    """
    support: Support = "undecided"
    if change == "better" and beside == "better":
        support = "supported"
    elif change == "worse" and beside not in {None, "better"}:
        support = "contradicted"
    words = capital(words)
    if beside is None:
        alone = "not compared with plain training, as the report has no plain run from the same start"
        return support, f"{words}; {alone}."
    if change != "better":
        return support, f"{words}; {_STOOD[beside]}."
    return support, f"{words}, {_AGAINST[beside]}."


_AGAINST: dict[Change, str] = {
    "better": "and it did better than plain training from the same start",
    "worse": "but plain training from the same start did better",
    "same": "but plain training from the same start gave as much",
    "unclear": "but as far as can be told plain training from the same start gave as much",
    "different": "but it is not clear whether that is more than plain training from the same start gave",
}

_STOOD: dict[Change, str] = {
    "better": "it still stands better than plain training from the same start",
    "worse": "plain training from the same start did better",
    "same": "plain training from the same start came to the same",
    "unclear": "no difference to plain training from the same start can be told",
    "different": "it differs from plain training from the same start",
}
