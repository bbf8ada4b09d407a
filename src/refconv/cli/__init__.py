"""The command line: parse, call one function, print.

Nothing here imports torch or timm before a command runs, so that help is quick.
"""

from refconv.cli.app import main

__all__ = ["main"]
