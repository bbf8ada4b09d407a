"""What commands print."""

from __future__ import annotations

import typer

from refconv.errors import RunError, printable


def say(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text on standard output or standard error, with names in it that a terminal only shows; JSON stays JSON."""
    try:
        typer.echo(printable(text, lines=True), nl=nl, err=err)
    except BrokenPipeError:  # whoever reads has seen enough
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> RunError:
    """Return the error for output that could not be written."""
    remedy = "give it another place; files that were written are whole"
    return RunError("cannot write", where="standard output", found=error.strerror, remedy=remedy)
