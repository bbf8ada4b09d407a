"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

REFERENCE = "run folder, checkpoint.pt, model folder, weights file or name of a model"


def optional(*names: str, **more: Any) -> Any:
    """Return an option whose default, none, help does not show."""
    return typer.Option(*names, show_default=False, **more)


Reference = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help=REFERENCE)]
Like = Annotated[str | None, optional("--model", metavar="NAME", help="the model that weights files belong to")]
TaskName = Annotated[str | None, optional("--task", metavar="WORD", help="task of a bare model; default: as trained")]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained/--no-pretrained", help="a model's bare name means its pretrained weights, or fresh ones"
    ),
]
DataName = Annotated[str | None, optional("--data", metavar="DATA", help="the data; default: that of the run")]
DataFolder = Annotated[str | None, optional("--data-dir", metavar="FOLDER", help="folder of the data")]
ClassMapFile = Annotated[
    str | None, optional("--class-map", metavar="FILE", help="file with the model's class of each folder")
]
SplitName = Annotated[str, typer.Option("--split", metavar="WORD", help="one of train, val, test")]
Only = Annotated[
    list[str] | None, optional("--only", metavar="NAME", help="only this measure; may be given several times")
]
Samples = Annotated[
    int | None, optional("--samples", metavar="N", min=2, help="most samples of a measure; default: its own limit")
]
Device = Annotated[
    str | None, optional("--device", metavar="TEXT", help="cpu, cuda, cuda:1, mps; default: the best there is")
]
