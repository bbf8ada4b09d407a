"""The sections of the page, a file each: records of pairs in, words, numbers and pictures out.

Each is called with all pairs and returns None if no pair has its record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refconv.report.elements import Section
from refconv.report.pairs import Pair

SECTIONS: tuple[Callable[[Sequence[Pair]], Section | None], ...] = ()
"""In the order of the page: weights first, then what needs data."""
