"""``--quiet`` and ``--verbose``, which every command has."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from refconv.cli.saying import say
from refconv.errors import RefconvError, SettingError
from refconv.process.volume import quiet as is_quiet, volume

_QUIET = "say the result and errors only"
_VERBOSE = "also what libraries log, and where errors come from; -vv: for debugging"
_HIDDEN: dict[str, Any] = {"show_envvar": False, "show_default": False}
_FLAGS = (
    ("quiet", Annotated[bool, typer.Option("--quiet", "-q", help=_QUIET, **_HIDDEN)], False),
    ("verbose", Annotated[int, typer.Option("--verbose", "-v", count=True, help=_VERBOSE, **_HIDDEN)], 0),
)


def with_volume(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the flags."""

    def run(**given: Any) -> Any:
        quiet, verbose = (given.pop(name) for name, _, _ in _FLAGS)
        if quiet and verbose:
            raise SettingError("cannot be combined with --verbose", where="--quiet", remedy="leave one of them out")
        with volume(quiet=quiet, verbose=verbose):
            try:
                return command(**given)
            except RefconvError:
                if verbose:
                    traceback.print_exc()
                raise

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [one.replace(kind=kind) for one in inspect.signature(command, eval_str=True).parameters.values()]
    added = [inspect.Parameter(name, kind, default=default, annotation=hint) for name, hint, default in _FLAGS]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # unknown to mypy
    run.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return run


def note(line: str) -> None:
    """Say something beside the result, on standard error."""
    if not is_quiet():
        say(line, err=True)
