"""The command line: parse, call one function, print; torch and timm are imported when a command runs."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.process.interruption import interruptible, last_words, status_of_stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``refconv`` with these arguments, by default those of the process, and return the exit status.

    A command that does not hear signals itself, or not yet, ends at each of them as at Ctrl-C.
    """
    with interruptible():
        try:
            from refconv.cli import app
        except ModuleNotFoundError as error:
            from refconv.cli.extras import without_commands

            return without_commands(error, arguments)
        except KeyboardInterrupt:  # while the packages are imported
            from refconv.cli.extras import STOPPED

            last_words(STOPPED)
            return status_of_stop()
        return app.main(arguments)


__all__ = ["main"]
