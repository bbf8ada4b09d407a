"""What several commands share: options, arguments and the exit status of a certificate that does not hold."""

from __future__ import annotations

from typing import Annotated, Any

import typer

FAILED = 3  # the command did its work, and the certificate it was asked for does not hold
REFERENCE = "run folder, checkpoint.pt, model folder, weights file or name of a model"


def option(metavar: str, text: str, *names: str, **more: Any) -> Any:
    """Return an option with its help; its name is that of the argument unless names are given."""
    return typer.Option(*names, metavar=metavar, help=text, **more)


def switch(name: str, text: str) -> Any:
    """Return an option without a value, and without the ``--no-`` that typer would give it."""
    return typer.Option(name, help=text)


Reference = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help=REFERENCE)]
Like = Annotated[str | None, option("NAME", "the model that weights files belong to", "--model")]
TaskName = Annotated[str | None, option("WORD", "task of a bare model; default: as trained", "--task")]
_FRESH = "a model's bare name means its pretrained weights, or fresh ones"
Pretrained = Annotated[bool, typer.Option("--pretrained/--no-pretrained", help=_FRESH)]
DataName = Annotated[str | None, option("DATA", "the data; default: that of the run")]
DataFolder = Annotated[str | None, option("FOLDER", "folder of the data")]
ClassMapFile = Annotated[str | None, option("FILE", "file with the model's class of each folder")]
SplitName = Annotated[str, option("WORD", "one of train, val, test")]
Only = Annotated[list[str] | None, option("NAME", "only this measure; may be given several times")]
Samples = Annotated[int | None, option("N", "most samples of a measure; default: its own limit", min=2)]
Device = Annotated[str | None, option("TEXT", "cpu, cuda, cuda:1, mps; default: the best there is")]
Json = Annotated[bool, switch("--json", "print JSON")]
