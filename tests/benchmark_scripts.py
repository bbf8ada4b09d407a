"""The scripts of benchmarks/, and the facts in the parts of pages that they generate.

A page is checked by its figures, so that a sentence can be reworded in a script or on its page without failing a test;
running the script brings both together again.
"""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def script(name):
    """Import a script of benchmarks/ by name, without leaving the folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module(name)


def part(page, name):
    """Return the generated part of a page between its markers; the page is named from the root of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"<!-- generated: {name}\b[^>]*-->\n(.*?)\n<!-- end: {name} -->", text, flags=re.DOTALL)
    assert len(found) == 1, f"{page}: {name}"
    return found[0]


def figures(text):
    """Return the numbers of a text, signs included, in sorted order; there must be at least one."""
    found = sorted(re.findall(r"[-+]?\d+(?:[.,]\d+)*", text))
    assert found
    return found
