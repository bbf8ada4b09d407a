"""The commands by name, with their lines in the help of all: a module is imported when one of its commands is used."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "improve": "Train a trained network further in several ways within one budget, and keep the best result.",
    "plan": "Show which kernels of a model would be refocused, which not and why, and what it costs while training.",
    "train": "Train a model on images or signals, plainly or with its kernels refocused.",
    "eval": "Evaluate a model by the measures of its task: top-1, mAP, mIoU or PSNR.",
    "predict": "Predict on images: classes, boxes, segments, or the restored image.",
    "merge": "Write the plain model of a run's checkpoint as a model folder, and certify that it computes the same.",
    "adopt": "Make weights of your own into a model folder that says what it is: model, task, classes, preprocessing.",
    "verify": "Check whether two models have the same structure and, on data, the same outputs.",
    "export": "Write a merged network as ONNX, .pt2, TorchScript, OpenVINO IR or a folder for a model hub, and "
    "check it.",
    "bench": "Compare latency and memory of two networks of one structure on this CPU, in torch and in onnxruntime.",
    "compare": "Compare methods on equal terms: same base, data, order, schedule and budget for every method of a "
    "seed.",
    "analyze": "Measure what changed between two models: redundancy, skeletons, filters, movement, relations of "
    "kernels.",
    "report": "Show what changed between a base and the runs that came of it, on one page without a network.",
    "demo": "Train a small network on the digits for a short time, and improve it with refconv improve.",
    "data": "Make data to run on.",
    "recipes": "The recipes and studies that come with the package.",
}
"""The first line of each command's own help, kept apart so that the help of all imports none of them."""

_HOMES = {
    "training": ("improve", "train", "compare", "demo"),
    "models": ("plan", "merge", "adopt", "verify"),
    "measuring": ("eval", "predict", "analyze", "report"),
    "exporting": ("export", "bench"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
_GROUPS = {"data": ("training", ("scenes",)), "recipes": ("recipes", ("ls", "show", "cp"))}

LOOKS: dict[str, Any] = {"pretty_exceptions_enable": False}
HELP: dict[str, Any] = {"no_args_is_help": True, "context_settings": {"help_option_names": ["-h", "--help"]}}


class LazyGroup(TyperGroup):
    """The group of all commands, each built when it is asked for; the help of all shows their lines."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": None})
        self.commands: Any = _Built()  # to typer a dict
        self._lines: dict[str, Any] = {name: TyperCommand(name, short_help=line) for name, line in COMMANDS.items()}
        self._listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of all commands without building one."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags; those of typer itself are false by default, as it imports pydantic to read None."""
        found: list[Any] = super().get_params(ctx)
        for one in found:
            one.default = False if one.default is None else one.default
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or in the help its name and line."""
        return (self._lines if self._listing else self.commands).get(cmd_name)


class _Built(Mapping[str, Any]):
    """Commands by name, built when they are looked up."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = _group(name) if name in _GROUPS else _command(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS


def _command(name: str) -> Any:
    """Build a command of its function."""
    from refconv.cli.trusting import with_trust

    home = importlib.import_module(f"refconv.cli.{_MODULES[name]}")
    alone = typer.Typer(add_completion=False, **LOOKS)
    settings = {"auto_envvar_prefix": f"REFCONV_{name.upper()}", **HELP["context_settings"]}
    function = getattr(home, name, None) or getattr(home, f"{name}_")  # where Python has a function of the name
    alone.command(name, context_settings=settings)(_called(with_trust(function)))
    return typer.main.get_command(alone)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with what every command has: ``~`` in the paths it is given, and how much it says."""
    from refconv.cli.volume import with_volume
    from refconv.paths import expanded

    command = with_volume(function)

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        return command(**expanded(given))

    return run


def _group(name: str) -> Any:
    """Build a group of commands."""
    module, names = _GROUPS[name]
    home = importlib.import_module(f"refconv.cli.{module}")
    group = typer.Typer(name=name, help=COMMANDS[name], add_completion=False, **LOOKS, **HELP)
    group.callback()(lambda: None)
    for one in names:
        group.command(one)(_called(getattr(home, one)))
    return typer.main.get_command(group)
