"""The commands of ``refconv``, put together."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from refconv.cli import analyze, compare, data, demo, evaluate, improve, merge, plan, predict, report, train, verify

app = typer.Typer(
    name="refconv",
    help="Retrain a ConvNet through its own kernels, and get the same network back with better weights.",
    epilog="Start with: refconv demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "improve": improve.improve,
    "plan": plan.plan,
    "train": train.train,
    "eval": evaluate.evaluate,
    "predict": predict.predict,
    "merge": merge.merge,
    "verify": verify.verify,
    "compare": compare.compare,
    "analyze": analyze.analyze,
    "report": report.report,
    "demo": demo.demo,
}
_DATA_COMMANDS: dict[str, Callable[..., None]] = {"scenes": data.scenes}
data_app = typer.Typer(
    name="data",
    help="Make data to run on.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app)
for group, commands in ((app, _COMMANDS), (data_app, _DATA_COMMANDS)):
    for name, command in commands.items():
        # Help shows what a command does and when it fails, not what a caller in Python must know.
        group.command(name, help=(inspect.getdoc(command) or "").split("\n\nRaises:")[0])(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refconv {importlib.metadata.version('refconv')}")
        raise typer.Exit


@app.callback()
def refconv(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """Retrain a ConvNet through its own kernels, and get the same network back with better weights."""
