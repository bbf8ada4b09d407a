"""What commands print."""

from __future__ import annotations

import typer

from refconv.errors import printable


def say(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text on standard output or standard error, with names in it that a terminal only shows; JSON stays JSON."""
    typer.echo(printable(text, lines=True), nl=nl, err=err)
