"""``refconv demo``: the whole method on a small real network, in a few minutes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.options import option
from refconv.cli.outputs import FAILED, draw_table


def demo(out: Annotated[Path, option("FOLDER", "folder of the runs", "--out", "-o")] = Path("runs/demo")) -> None:
    """Train a small network on the digits, continue plainly and refocused with the same budget, merge and certify.

    Takes about a minute on two cores. Finished runs are kept: remove the folder to repeat them.
    """
    from refconv.engine import demo as trained

    record = trained.demo(out, say=typer.echo)
    table = trained.markdown(record)
    (out / "table.md").write_text(table + "\n", encoding="utf-8")
    if sys.stdout.isatty():
        draw_table([trained.HEADER, *map(trained.cells, record.rows)], trained.caption(record), right=True)
        typer.echo(record.certificate)
    else:
        typer.echo(f"\n{table}")
    if not record.certified:
        raise typer.Exit(FAILED)
