"""The sections of the page, a file each: records of pairs in, words, numbers and pictures out.

Each is a :class:`~refconv.report.sections.spec.Spec`: called with all pairs, it returns None if no pair has its record.
"""

from importlib import import_module

from refconv.measures.verdicts import VERDICTS
from refconv.report.sections.spec import Spec

SECTIONS: tuple[Spec, ...] = tuple(import_module(f"refconv.report.sections.{name}").section for name in VERDICTS)
"""In the order of the page: weights first, then what needs data."""
