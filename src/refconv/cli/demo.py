"""``refconv demo``: the whole job on a small real network, in less than two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.improve import tell
from refconv.cli.options import option


def demo(out: Annotated[Path, option("FOLDER", "folder of the runs", "--out", "-o")] = Path("runs/demo")) -> None:
    """Train a small network on the digits for a short time, and improve it with refconv improve.

    Takes about a minute on two cores. Finished runs are kept: remove the folder to repeat them.
    """
    from refconv.improvement.demo import demo as run

    tell(run(out, say=typer.echo), out / "improve")
