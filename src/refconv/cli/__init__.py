"""The command line: parse, call one function, print; torch and timm are imported when a command runs."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``refconv`` with these arguments, by default those of the process, and return the exit status."""
    try:
        from refconv.cli import app
    except ModuleNotFoundError as error:
        from refconv.cli.extras import without_commands

        return without_commands(error, arguments)
    except KeyboardInterrupt:  # while the packages are imported
        import sys

        from refconv.cli.extras import STOPPED

        print(STOPPED, file=sys.stderr)
        return 130
    return app.main(arguments)


__all__ = ["main"]
