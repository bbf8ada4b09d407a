"""The command line: parse, call one function, print; torch and timm are imported when a command runs."""

from refconv.cli.app import main

__all__ = ["main"]
