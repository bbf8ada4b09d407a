"""What a section of the page is: the verdict of a measure with figures and notes, as one specification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from refconv.measures.pairs import Measured, ModelPair, notes_on
from refconv.measures.verdicts import VERDICTS
from refconv.report.elements import Figure, Section

Items = Sequence[Measured]


@dataclass(frozen=True)
class Spec:
    """The specification of a section; called with all pairs, it returns the section."""

    name: str  #: the measure's, also the section's anchor
    title: str  #: the heading
    about: str  #: what is measured, in two sentences at most
    figures: Callable[[Items], Iterable[Figure]]  #: in the order in which they are to be read
    #: small print, besides that on pairs without the record; empty ones are left out
    notes: Callable[[Items], Iterable[str]]

    def __call__(self, pairs: Sequence[ModelPair]) -> Section | None:
        """Return the section of all pairs of the page; None if no pair has the record."""
        verdict = VERDICTS[self.name]
        found, items = verdict(pairs), verdict.items(pairs)
        if found is None:
            return None
        notes = (*filter(None, self.notes(items)), *notes_on(pairs, items, self.name))
        figures = tuple(self.figures(items))
        return Section(self.name, self.title, self.about, found.findings, figures, found.claim, notes, verdict.more)
