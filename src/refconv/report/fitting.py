"""Making a page fit its size: of long choices, such as a picture for each of a hundred layers, options are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refconv.report.elements import Figure, Section

_FEWEST = 3
"""Options that are always kept."""


def thinned(sections: Sequence[Section]) -> tuple[Section, ...] | None:
    """Return the sections with about half of the options of their largest choice, the first one kept.

    What was left out is said in the section's notes.

    Returns:
        None if no choice has options to spare.
    """
    sizes: dict[tuple[int, str], int] = {}
    for place, section in enumerate(sections):
        for figure in section.figures:
            if figure.choice is not None and len(_options(section, figure.choice)) > _FEWEST:
                key = (place, figure.choice)
                sizes[key] = sizes.get(key, 0) + _size(figure)
    if not sizes:
        return None
    place, choice = max(sizes, key=lambda key: sizes[key])
    return tuple(_halved(section, choice) if i == place else section for i, section in enumerate(sections))


def _halved(section: Section, choice: str) -> Section:
    options = _options(section, choice)
    kept = options[::2]
    dropped = {id(figure) for figure in options if not any(figure is one for one in kept)}
    start = f"Of each {choice} in the analysis, "
    notes = [note for note in section.notes if not note.startswith(start)]
    notes.append(f"{start}every few are shown here, {len(kept)} in all, so that the page stays small.")
    figures = tuple(figure for figure in section.figures if id(figure) not in dropped)
    return replace(section, figures=figures, notes=tuple(notes))


def _options(section: Section, choice: str) -> list[Figure]:
    return [figure for figure in section.figures if figure.choice == choice]


def _size(figure: Figure) -> int:
    """Return about how many characters a figure takes on the page."""
    rows = figure.table.rows if figure.table else ()
    return len(figure.drawing) + sum(len(cell) + 9 for row in rows for cell in row)
