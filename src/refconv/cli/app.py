"""The commands of ``refconv`` put together, and its entry point: a user's mistake is one line."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from refconv.cli.absent import ABSENT, USUAL
from refconv.cli.arguments import spread
from refconv.cli.commands import HELP, LOOKS, LazyGroup
from refconv.cli.extras import ABOUT, STOPPED, not_installed
from refconv.cli.saying import say, unwritten
from refconv.errors import RefconvError, RefconvWarning, did_you_mean, printable
from refconv.process.interruption import INTERRUPTED, StoppedError, last_words, status_of_stop
from refconv.process.shortage import SHORTAGES, shortage
from refconv.process.volume import quiet

# A traceback, which is a bug, has the exit status 1, an interruption 130, and 128 with its number after another signal.
MISTAKE = 2  # the user asked for something impossible; one line on stderr says what

app = typer.Typer(name="refconv", cls=LazyGroup, help=ABOUT, epilog="Start with: refconv demo", **LOOKS, **HELP)

# typer has carried its own copy of click since 0.20 and used the click package before; this is the class either way.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_SURPLUS = re.compile(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)")


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        say(f"refconv {importlib.metadata.version('refconv')}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_show_version, is_eager=True, help="show the version and exit")


@app.callback(help=ABOUT)
def refconv(version: Annotated[bool, _VERSION] = False) -> None:
    """Take what stands before the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``refconv`` with these arguments, by default those of the process, and return the exit status."""
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
    except OSError as error:  # such as a log on a full disk
        print(f"refconv: error: {unwritten(error)}", file=sys.stderr)
        _abandon_output()
        return status or MISTAKE
    return status


def _abandon_output() -> None:
    """Let what is left of the output go nowhere: Python would complain at its end, with a status of its own."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str] | None) -> int:
    try:
        command = typer.main.get_command(app)
        given = sys.argv[1:] if arguments is None else list(arguments)
        if given and (named := command.commands.get(given[0])) is not None:  # type: ignore[attr-defined]  # a group's
            given = [given[0], *spread(named, given[1:])]
        for line in _strange_variables(command):
            _print(f"warning: {line}")
        with _warnings_as_lines():
            status = command.main(args=given, prog_name="refconv", standalone_mode=False)
            if status == INTERRUPTED:  # so typer says it
                raise KeyboardInterrupt
    except StoppedError as error:
        last_words(f"refconv: {error}")
        return status_of_stop()
    except ModuleNotFoundError as error:
        if (wanted := not_installed(error)) is None:
            raise
        _print(f"error: {wanted}")
        return MISTAKE
    except (RefconvError, _UsageError) as error:
        line = str(error) if isinstance(error, RefconvError) else _usage(error)
        _print(f"error: {line}")
        return MISTAKE
    except (typer.Abort, KeyboardInterrupt):
        last_words(STOPPED)
        return status_of_stop()
    except SHORTAGES as error:
        if (lack := shortage(error)) is None:
            raise
        _print(f"error: {lack}")
        return MISTAKE
    return status if isinstance(status, int) else 0


def _print(line: str) -> None:
    """Print a line on standard error, once where several processes of torchrun have the same to say."""
    once: contextlib.AbstractContextManager[bool] = contextlib.nullcontext(True)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from refconv.process.distributed import said_once

        once = said_once(line)
    with once as mine:
        if mine:
            print(f"refconv: {line}", file=sys.stderr, flush=True)


def _strange_variables(group: Any) -> Iterator[str]:
    """Yield a line for each variable of the environment that is meant for a command and is no flag of it."""
    ours = sorted(variable for variable in os.environ if variable.startswith("REFCONV_"))
    for name in group.commands:
        prefix = f"REFCONV_{name.upper()}_"
        for variable in (one for one in ours if one.startswith(prefix)):
            rest = variable.removeprefix(prefix)
            known = {parameter.name.upper() for parameter in group.commands[name].params if parameter.name}
            if rest not in known:
                yield str(RefconvError("gives no flag", where=variable, remedy=did_you_mean(rest, known)))


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each warning of this package once, as one line, without the place in the code that Python shows."""
    said: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, RefconvWarning):
                usual(message, category, *where, **more)
            elif str(message) not in said and not quiet():
                said.add(str(message))
                _print(f"warning: {printable(str(message))}")

        warnings.showwarning = show
        warnings.simplefilter("always", RefconvWarning)
        yield


def _usage(error: Exception) -> str:
    """Return in one line what is wrong with the arguments, with the flag that was probably meant."""
    context = getattr(error, "ctx", None)
    name = getattr(error, "option_name", None)
    if name is not None and hasattr(error, "possibilities") and context is not None:
        flags = [flag for parameter in context.command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
        meant = USUAL.get(name.replace("_", "-"))
        remedy = ABSENT.get(name.replace("_", "-")) if "--opt" in flags else None
        remedy = remedy or (f"did you mean {meant}?" if meant in flags else did_you_mean(name, flags))
        remedy = remedy or f"{context.command_path} --help lists them"
        return str(RefconvError("unknown flag", where=name, remedy=remedy))
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    surplus = _SURPLUS.match(message)
    if surplus and context is not None:
        flags = [flag for parameter in context.command.params for flag in parameter.opts]
        recipe = next((word for word in surplus[1].split() if word.endswith(".toml") and "--recipe" in flags), None)
        remedy = f"{context.command_path} --help shows what it takes"
        if recipe:
            remedy = f"give a recipe as --recipe {recipe}"
        return str(RefconvError("unexpected argument", where=surplus[1], remedy=remedy))
    where = "" if context is None else f"; {context.command_path} --help says more"
    return " ".join(message.split()).rstrip(".") + where
