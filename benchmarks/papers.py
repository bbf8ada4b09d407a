"""The page of papers, docs/literature.md, from tests/literature/papers.toml.

python benchmarks/papers.py
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pages import ROOT, replace_part, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAPERS = ROOT / "tests" / "literature" / "papers.toml"
PAGE = ROOT / "docs" / "literature.md"
KINDS = {
    "backbone": "Architectures",
    "kernel": "Kernels that are computed from something else",
    "operator": "Other kinds of convolution",
    "task": "Tasks",
    "training": "Training",
    "compression": "Compression",
    "analysis": "Analysis and theory",
    "unrelated": "Unrelated",
}


@dataclass(frozen=True)
class Paper:
    """One row; the head of the file says what its fields hold."""

    title: str
    kind: str
    here: str = ""
    shown: tuple[str, ...] = ()
    open: str | None = None
    outside: str | None = None

    @property
    def state(self) -> str:
        """Say whether it works, works in part, does not work yet, or does not apply."""
        if self.outside is not None:
            return "does not apply"
        if self.open is None:
            return "works"
        return "in part" if self.shown else "not yet"


def papers(path: Path = PAPERS) -> list[Paper]:
    """Read the rows of the file."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["paper"]
    return [Paper(**{**row, "shown": tuple(row.get("shown", ()))}) for row in rows]


def evidence(paper: Paper) -> str:
    """Return the cell that says by which tests a row is shown, and what is open."""
    if paper.outside is not None:
        return f"does not apply: {paper.outside}"
    shown = "<br>".join(f"`{test}`" for test in paper.shown)
    missing = f"{'**in part**' if paper.shown else '**not yet**'}: {paper.open}" if paper.open else ""
    return "<br>".join(part for part in (missing, shown) if part)


def summary(rows: Sequence[Paper]) -> str:
    """Return the sentence that counts the rows."""
    count = Counter(row.state for row in rows)
    apply = len(rows) - count["does not apply"]
    return (
        f"Of {len(rows)} papers, {apply} apply to this library: {count['works']} work, {count['in part']} work in "
        f"part and {count['not yet']} do not work yet, each with the reason."
    )


def main() -> None:
    """Fill the generated part of the page."""
    rows = papers()
    parts = [summary(rows)]
    for kind, title in KINDS.items():
        chosen = [(row.title, row.here, evidence(row)) for row in rows if row.kind == kind]
        parts += [f"## {title}", table(("paper", "what it means here", "shown by"), chosen)]
    replace_part(PAGE, "papers", "\n\n".join(parts))


if __name__ == "__main__":
    main()
