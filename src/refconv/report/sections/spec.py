"""What a section of the page is: the verdict of a measure with figures and notes, as one specification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from refconv.measures.pairs import Measured, ModelPair, notes_on
from refconv.measures.verdicts.verdict import Verdict
from refconv.report.elements import Figure, Section

Items = Sequence[Measured]


@dataclass(frozen=True)
class Spec:
    """The specification of a section; called with all pairs, it returns the section.

    Attributes:
        verdict: what the records say.
        title: the heading.
        about: what is measured, in two sentences at most.
        figures: in the order in which they are to be read.
        notes: small print, besides that on pairs without the record; empty ones are left out.
    """

    verdict: Verdict
    title: str
    about: str
    figures: Callable[[Items], Iterable[Figure]] = lambda items: ()
    notes: Callable[[Items], Iterable[str]] = lambda items: ()

    @property
    def name(self) -> str:
        """The measure's name, also the section's anchor."""
        return self.verdict.name

    def __call__(self, pairs: Sequence[ModelPair]) -> Section | None:
        """Return the section; None if no pair has the record.

        Args:
            pairs: all pairs of the page.
        """
        found, items = self.verdict(pairs), self.verdict.items(pairs)
        if found is None:
            return None
        return Section(
            name=self.name,
            title=self.title,
            about=self.about,
            findings=found.findings,
            figures=tuple(self.figures(items)),
            claim=found.claim,
            notes=(*filter(None, self.notes(items)), *notes_on(pairs, items, self.name)),
            more_records=self.verdict.more,
        )
