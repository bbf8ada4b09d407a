"""What a section of the page is: findings, figures and notes of a measure, as one specification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from refconv.measures.findings import Claim, Finding, Judgement
from refconv.measures.pairs import Measured, Pair, measured, notes_on, rivals
from refconv.report.elements import Figure, Section

Items = Sequence[Measured]


def _nothing(*_: object) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Spec:
    """The specification of a section; called with all pairs, it returns the section.

    Attributes:
        name: the measure's, and the section's anchor.
        title: the heading.
        about: what is measured, in two sentences at most.
        findings: what the record says of one pair, the headline first.
        contrasts: how the result of a pair compares with that of a reference, plain training where there is such.
        claim: what is claimed about the measure, and what each pair says to it.
        figures: in the order in which they are to be read.
        notes: small print, besides that on pairs without the record.
        more: measures besides the one of its name whose records are read.
        has: whether a pair with the record has anything to show.
    """

    name: str
    title: str
    about: str
    findings: Callable[[Measured], Iterable[Finding]]
    contrasts: Callable[[Measured, Measured], Iterable[Finding]] = _nothing
    claim: Callable[[Items], Claim | None] = lambda items: None
    figures: Callable[[Items], Iterable[Figure]] = _nothing
    notes: Callable[[Items], Iterable[str]] = _nothing
    more: tuple[str, ...] = ()
    has: Callable[[Measured], bool] = lambda item: True

    def items(self, pairs: Sequence[Pair]) -> list[Measured]:
        """Return the pairs that the section is about."""
        found = {
            item.role: item for name in (*self.more, self.name) for item in measured(pairs, name) if self.has(item)
        }
        return [found[role] for role in sorted(found)]

    def judge(self, pairs: Sequence[Pair]) -> Judgement | None:
        """Return the findings and the claim alone; None if no pair has the record."""
        items = self.items(pairs)
        if not items:
            return None
        findings = [finding for item in items for finding in self.findings(item)]
        findings += [finding for one, other in rivals(items) for finding in self.contrasts(one, other)]
        return Judgement(tuple(findings), self.claim(items))

    def __call__(self, pairs: Sequence[Pair]) -> Section | None:
        """Return the section; None if no pair has the record.

        Args:
            pairs: all pairs of the page.
        """
        found, items = self.judge(pairs), self.items(pairs)
        if found is None:
            return None
        return Section(
            name=self.name,
            title=self.title,
            about=self.about,
            findings=found.findings,
            figures=tuple(self.figures(items)),
            claim=found.claim,
            notes=(*self.notes(items), *notes_on(pairs, items, self.name)),
            more_records=self.more,
        )
