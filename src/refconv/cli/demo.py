"""``refconv demo``: the whole method on a small real network, in a few minutes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refconv.cli.status import FAILED

if TYPE_CHECKING:
    from refconv.engine.demo import DemoRecord


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="folder of the runs")] = Path("runs/demo"),
) -> None:
    """Train a small network on the digits, continue plainly and refocused with the same budget, merge and certify.

    Takes about a minute on two cores. Finished runs are kept: remove the folder to repeat them.

    Raises:
        Exit: if the certificate does not hold.
    """
    from refconv.engine.demo import demo as run
    from refconv.engine.demo import markdown

    record = run(out, say=typer.echo)
    table = markdown(record)
    (out / "table.md").write_text(table + "\n", encoding="utf-8")
    if sys.stdout.isatty():
        _show(record)
    else:
        typer.echo(f"\n{table}")
    if not record.certified:
        raise typer.Exit(FAILED)


def _show(record: DemoRecord) -> None:
    """Show the table in a terminal."""
    from rich.console import Console
    from rich.table import Table

    from refconv.engine.demo import HEADER, caption, cells

    table = Table(caption=caption(record))
    for number, title in enumerate(HEADER):
        table.add_column(title, justify="right" if number else "left")
    for row in record.rows:
        table.add_row(*cells(row))
    console = Console()
    console.print(table)
    console.print(record.certificate, markup=False, highlight=False)
