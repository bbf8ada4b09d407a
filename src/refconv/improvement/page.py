"""The report of an improvement."""

from __future__ import annotations

from pathlib import Path

from refconv.improvement.record import ImproveRecord


def write_page(record: ImproveRecord, path: Path) -> None:
    """Write the report."""
    path.write_text(record.verdict, encoding="utf-8")
