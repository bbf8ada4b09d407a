"""Options of the commands: those that several share, and flags made from the fields of the recipe.

Flags of the recipe arrive as text and leave as the types of the fields, checked as a recipe is and with the same
messages, so that recipes and flags cannot drift apart.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli.arguments import ENTRIES, NUMBERS, WORDS
from refconv.cli.saying import say
from refconv.errors import SettingError
from refconv.recipe.recipe import Recipe
from refconv.recipe.settings import check_range, coerced
from refconv.recipe.timm_names import TIMM_NAMES, TimmName, translated

# The command did its work, and the certificate it was asked for does not hold, or some images could not be read.
FAILED = 3
REFERENCE = "run folder, checkpoint.pt, model folder, weights file or name of a model"
RUNNABLE = f"{REFERENCE}, or a file that export wrote"


def _literal(text: str) -> str:
    """Return a text whose brackets are not read as rich's markup."""
    return text.replace("[", "\\[")


def option(metavar: str, text: str, *names: str, **more: Any) -> Any:
    """Return an option with its help; its name is that of the argument unless names are given."""
    return typer.Option(*names, metavar=metavar, help=_literal(text), show_envvar=False, **more)


def switch(name: str, text: str) -> Any:
    """Return an option without a value, and without the ``--no-`` that typer would give it."""
    return typer.Option(name, help=_literal(text), show_envvar=False)


Reference = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help=REFERENCE)]
Runnable = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help=RUNNABLE)]
Like = Annotated[
    str | None, option("NAME", "the model that weights files belong to, or a folder that cannot name it", "--model")
]
TaskName = Annotated[str | None, option("WORD", "task of a bare model; default: as trained", "--task")]
_FRESH = "a model's bare name means its pretrained weights, or fresh ones"
Pretrained = Annotated[bool, typer.Option("--pretrained/--no-pretrained", help=_FRESH, show_envvar=False)]
DataName = Annotated[str | None, option("DATA", "the data; default: that of the run")]
DataFolder = Annotated[str | None, option("FOLDER", "folder of the data")]
ClassMapFile = Annotated[str | None, option("FILE", "file with the model's class of each folder")]
SplitName = Annotated[str, option("WORD", "one of train, val, test")]
Only = Annotated[list[str] | None, option("NAME", "only this measure; may be given several times")]
Again = Annotated[bool, switch("--again", "repeat measurements that are there already")]
Samples = Annotated[int | None, option("N", "most samples of a measure; default: its own limit", min=2)]
Device = Annotated[str | None, option("TEXT", "cpu, cuda, cuda:1, mps; default: the best there is")]
_SHIPPED = "recipe in TOML, or the name of one of refconv recipes ls; flags override it"
RecipeFile = Annotated[Path | None, option("FILE", _SHIPPED, "--recipe")]
Json = Annotated[bool, switch("--json", "print JSON")]

SHORT = {"batch_size": "-b", "workers": "-j", "validation_batch_size": "-vb"}
"""Fields that timm's train.py has short flags for."""

TIMM_PANEL = "Other words of timm"

PREPROCESSING = ("img_size", "mean", "std", "interpolation", "crop_pct")
"""Fields of the preprocessing of images: flags of every command that reads images."""

COMMON = frozenset((
    "task", "model", "pretrained", "checkpoint", "reset_classifier", "data", "data_dir", "img_size", "val_split",
    "workers", "method", "opt", "lr", "weight_decay", "epochs", "batch_size", "sched", "warmup_epochs", "model_ema",
    "hflip", "scale", "mixup", "distill", "seed", "device", "amp",
))  # fmt: skip
"""Fields whose flags are in the short help of a command with many; ``--help-all`` shows all of them."""

_MANY = 30  #: Flags of the recipe from which on a command has a short help

_WORDS = {"true": True, "false": False, "none": None}
_Field = dataclasses.Field[Any]


def with_recipe_flags(names: Iterable[str] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command: give it one flag per field of the recipe, by default all, in place of its argument ``flags``.

    The command gets ``flags``, a mapping of the settings that were given; what was not given is not in it.
    """
    fields = [field for field in dataclasses.fields(Recipe) if names is None or field.name in set(names)]
    hints = typing.get_type_hints(Recipe)
    known = {field.name for field in fields}
    many = len(fields) > _MANY  # commands with few settings have these alone
    others = {name: one for name, one in TIMM_NAMES.items() if many and known.issuperset(one.fields)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def run(**given: Any) -> Any:
            given.pop(_ALL, None)
            texts = [(field, given.pop(field.name)) for field in fields]
            flags = {}
            for field, text in ((field, text) for field, text in texts if text not in (None, [], ())):
                hint = hints[field.name]
                flags[field.name] = coerced(field.name, hint, from_text(field.name, hint, text))
                check_range(field, flags[field.name])
            for name, text in ((name, given.pop(name)) for name in others):
                if text not in {None, False}:
                    flags[name] = coerced(name, others[name].hint, from_text(name, others[name].hint, text))
            return command(**given, flags=translated(flags))

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own if one.name != "flags"]
        parameters.sort(key=lambda one: one.default is not inspect.Parameter.empty)
        parameters += [_parameter(one, hints[one.name], hidden=many and one.name not in COMMON) for one in fields]
        parameters += [_other(name, one) for name, one in others.items()]
        parameters += [_help_all(len(fields))] if many else []
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # unknown to mypy
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def from_text(name: str, hint: Any, text: Any) -> Any:
    """Turn what was written for a field, one text, several or the truth value of a switch, into the field's type."""
    if typing.get_origin(hint) is types.UnionType:
        if isinstance(text, str) and text.lower() == "none":
            return None
        hint = _some(hint)
    if typing.get_origin(hint) is dict:
        return table(name, text)
    if typing.get_origin(hint) is tuple:
        items = text.split(",") if isinstance(text, str) else text
        return tuple(_number(typing.get_args(hint)[0], item) for item in items)
    return _number(hint, text)


def table(name: str, texts: Iterable[str] | None) -> dict[str, Any]:
    """Return the names and values of a table that was given as entries ``key=value``."""
    return dict(_entry(name, text) for text in texts or ())


def flag(name: str) -> str:
    """Return how a field is called on the command line."""
    return "--" + name.replace("_", "-")


def chosen(flags: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of ``flags`` that are among ``names``."""
    return {name: flags[name] for name in names if name in flags}


def _some(hint: Any) -> Any:
    """Return the type that a field has besides None."""
    (found,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    return found


def _number(hint: Any, text: Any) -> Any:
    """Return a number where one is wanted; what is none stays a text, and the check says what was expected."""
    try:
        return hint(text) if hint in {int, float} else text
    except ValueError:
        return text


def _entry(name: str, text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise SettingError("not an entry of a table", where=flag(name), expected="key=value", found=repr(text))
    if value.lower() in _WORDS:
        return key, _WORDS[value.lower()]
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


_ALL = "help_all"


def _help_all(count: int) -> inspect.Parameter:
    """Return the flag that shows the help with every flag of the command."""

    def show(context: typer.Context, wanted: bool) -> None:
        if wanted:
            for parameter in context.command.params:
                parameter.hidden = False  # type: ignore[attr-defined]  # an option's
            say(context.get_help())
            raise typer.Exit

    shown = typer.Option(
        "--help-all", callback=show, is_eager=True, help=f"show all {count} settings and exit", show_envvar=False
    )
    annotation: Any = Annotated[bool, shown]
    return inspect.Parameter(_ALL, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _parameter(field: _Field, hint: Any, *, hidden: bool) -> inspect.Parameter:
    kind, metavar = _kind(field.metadata["choices"], hint)
    names = [flag(field.name), *([SHORT[field.name]] if field.name in SHORT else [])]
    if kind is bool:
        names = [f"{name}/{name.replace('--', '--no-', 1)}" for name in names]
    panel = field.metadata["group"].capitalize()
    shown = typer.Option(
        *names, help=_help(field), metavar=metavar, rich_help_panel=panel, hidden=hidden, show_envvar=False
    )
    annotation: Any = Annotated[kind | None, shown]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _other(name: str, meant: TimmName) -> inspect.Parameter:
    """Return the flag of another name of timm's."""
    kind, metavar = _kind((), meant.hint)
    names = [flag(name), *(["--dr"] if name == "decay_rate" else [])]
    shown = typer.Option(
        *names, help=_literal(meant.text), metavar=metavar, rich_help_panel=TIMM_PANEL, hidden=True, show_envvar=False
    )
    annotation: Any = Annotated[kind | None, shown]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(choices: Sequence[str], hint: Any) -> tuple[Any, str | None]:
    """Return the type that typer sees, and the word that help shows for the value."""
    hint = _some(hint) if typing.get_origin(hint) is types.UnionType else hint
    if hint is bool:
        return bool, None
    if choices:
        return str, WORDS if typing.get_origin(hint) is tuple else "WORD"
    if typing.get_origin(hint) is dict:
        return list[str], ENTRIES
    if typing.get_origin(hint) is tuple:
        item, *rest = typing.get_args(hint)
        if len(rest) == 1 and rest != [Ellipsis]:
            return tuple[str, str], "LOW HIGH"
        return (list[str], "PATTERN") if item is str else (str, NUMBERS)
    return str, {int: "N", float: "X"}.get(hint, "TEXT")


def _help(field: _Field) -> str:
    """Return the help text of a field, with the words it takes and its default where that says something."""
    default = field.default if field.default is not dataclasses.MISSING else None
    notes = []
    if field.metadata["choices"]:
        notes.append("one of " + ", ".join(field.metadata["choices"]))
    if default not in {None, False, ()}:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        notes.append("default: " + ("on" if default is True else shown))
    text: str = field.metadata["help"]
    return _literal(f"{text} ({'; '.join(notes)})" if notes else text)
