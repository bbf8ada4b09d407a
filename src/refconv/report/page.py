"""Elements -> one HTML page that needs nothing else: styles, scripts and pictures are inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from jinja2.bccache import Bucket
from markupsafe import Markup

from refconv.errors import printable
from refconv.measures.judging import Change, Support
from refconv.measures.pairs import Role
from refconv.report.charts.labels import marker
from refconv.report.charts.svg import element
from refconv.report.elements import Figure, Section
from refconv.report.provenance import Provenance
from refconv.report.results import p_value
from refconv.report.verdict import Verdict
from refconv.sentences import capital

WEIGHTS = frozenset(
    (
        *("redundancy", "skeleton", "filters", "components", "gaussians", "movement", "relations", "spectrum"),
        *("smoothness", "norms", "ranges", "kernels"),
    )
)  # the sections on weights alone; all others are about behaviour on data

CHANGES: Mapping[Change, str] = {"better": "▲", "worse": "▼", "different": "◆", "same": "=", "unclear": "?"}
SUPPORTS: Mapping[Support, str] = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Page:
    """All that is drawn; `model` is the name of the architecture, `start` what the shared first model was named by."""

    title: str
    model: str
    start: str
    verdict: Verdict
    sections: tuple[Section, ...]
    provenance: Provenance


def draw(page: Page) -> str:
    """Return the page as HTML, in which names hold no control characters."""
    names = [pair.name for pair in page.verdict.pairs]
    drawn = environment(shelves=shelves, arranged=arranged, headline=headline, names=names, several=len(names) > 1)
    text = drawn.get_template("template.html.j2").render(page=page, groups=groups(page.sections))
    return printable(text, lines=True)


def environment(**more: Any) -> jinja2.Environment:
    """Return what draws pages: templates of this package or, as ``package:file``, of another, and style and script."""
    blocks: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    made = jinja2.Environment(loader=jinja2.FunctionLoader(_text), autoescape=True, bytecode_cache=_COMPILED, **blocks)
    made.filters.update(capital=capital, tied=tied)
    style = Markup(_text("style.css") + _text("charts/charts.css"))
    made.globals.update(changes=CHANGES, supports=SUPPORTS, swatch=swatch, p_value=p_value, style=style)
    made.globals.update(script=Markup(_text("script.js")), **more)
    return made


class _Compiled(jinja2.BytecodeCache):
    """Compiled templates, kept for the next page: compiling takes longer than drawing."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill a bucket with what is known of its template."""
        if bucket.key in self._known:
            bucket.bytecode_from_string(self._known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what a bucket holds."""
        self._known[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def _text(name: str) -> str:
    package, _, file = name.rpartition(":")
    return resources.files(package or "refconv.report").joinpath(file).read_text(encoding="utf-8")


def groups(sections: Sequence[Section]) -> list[tuple[str, str, list[Section]]]:
    """Return the groups of sections as anchor, heading and sections; empty groups are left out."""
    weights = [section for section in sections if section.name in WEIGHTS]
    data = [section for section in sections if section.name not in WEIGHTS]
    found = [("of-weights", "Weights", weights), ("of-behaviour", "Behaviour on data", data)]
    return [group for group in found if group[2]]


def shelves(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Return figures in their order, those of one choice together where the first stands, every other one alone."""
    found: dict[str | int, list[Figure]] = {}
    for place, figure in enumerate(figures):
        found.setdefault(figure.choice or place, []).append(figure)
    return list(found.values())


def arranged(section: Section, names: Sequence[str]) -> list[tuple[int, str, list[Any]]]:
    """Return a section's findings by pair: its place, its name, the findings; pairs without are left out."""
    per_pair = [(i, name, [f for f in section.findings if f.pair == name]) for i, name in enumerate(names)]
    return [entry for entry in per_pair if entry[2]]


def headline(section: Section, names: Sequence[str]) -> tuple[list[tuple[int, str, Change]], str]:
    """Return a section's result in a line: what changed for each pair, and the first finding on a refocused one."""
    firsts = [(place, name, found[0]) for place, name, found in arranged(section, names)]
    told = [finding for _, name, finding in firsts if not name.startswith("plain")] or [one for *_, one in firsts]
    return [(place, name, finding.change) for place, name, finding in firsts], told[0].text if told else ""


def swatch(place: Role) -> Markup:
    """Return the sign of a pair as charts draw it."""
    return element("svg", marker(place, 8, 8, 5.2), class_="swatch", viewBox="0 0 16 16", aria_hidden="true")


def tied(text: str) -> str:
    r"""Return a text whose numbers do not part from their units at the end of a line.

    Example:
        >>> tied("+0.5 points, 95 % of 3 layers")
        '+0.5\xa0points, 95\xa0% of 3 layers'
    """
    return re.sub(r"(?<=\d) (?=(?:%|points?\b|dB\b|nats\b))", "\N{NO-BREAK SPACE}", text)
