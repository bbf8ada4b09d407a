"""The verdict of a measure: what its records say of each pair, of two pairs, and of a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from refconv.measures.findings import Claim, Finding, Judgement
from refconv.measures.pairs import Measured, ModelPair, measured, rivals


@dataclass(frozen=True)
class Verdict:
    """How the records of a measure are judged.

    Attributes:
        name: the measure's.
        findings: what the record says of one pair, the headline first.
        contrasts: how the result of a pair compares with that of a reference, plain training where there is such.
        claim: what is claimed about the measure, and what each pair says to it.
        more: measures besides the one of its name whose records are read.
        has: whether a pair with the record has anything to judge.
    """

    name: str
    findings: Callable[[Measured], Iterable[Finding]]
    contrasts: Callable[[Measured, Measured], Iterable[Finding]] = lambda subject, reference: ()
    claim: Callable[[Sequence[Measured]], Claim | None] = lambda items: None
    more: tuple[str, ...] = ()
    has: Callable[[Measured], bool] = lambda item: True

    def items(self, pairs: Sequence[ModelPair]) -> list[Measured]:
        """Return the pairs that it is about, in their order."""
        found = {
            item.role: item for name in (*self.more, self.name) for item in measured(pairs, name) if self.has(item)
        }
        return [found[role] for role in sorted(found)]

    def __call__(self, pairs: Sequence[ModelPair]) -> Judgement | None:
        """Return what is found, whatever the number of samples; None if no pair has the record."""
        items = self.items(pairs)
        if not items:
            return None
        findings = [finding for item in items for finding in self.findings(item)]
        findings += [finding for one, other in rivals(items) for finding in self.contrasts(one, other)]
        return Judgement(tuple(findings), self.claim(items))
