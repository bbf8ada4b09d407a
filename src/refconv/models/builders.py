"""From a model's name to a model: timm, torchvision, a task's own, or the user's ``module:function``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import timm
from torch import nn

from refconv.errors import ModelError, RefconvError, did_you_mean
from refconv.models.weights import classifier_names, load_state, start_anew
from refconv.named_code import trust
from refconv.paths import expanded

UNKNOWN = "unknown model"  #: What errors say of a name that nothing is known by
TIMM_SOURCES = ("local-dir", "hf-hub")  #: Prefixes that timm resolves itself

TASK_SOURCES = {
    "detector": ("detectors", "build_detector"),
    "smp": ("segmenters", "build_smp"),
    "spandrel": ("restorers", "build_spandrel"),
}
_OF_TORCHVISION = {
    "detection": ("detectors", "build_torchvision_detector"),
    "segmentation": ("segmenters", "build_torchvision_segmenter"),
}
"""Prefixes, and modules of torchvision, of models that are put together by a function in a file beside this one."""

_NAMES_IN_TORCHVISION = {"drop_rate": "dropout", "drop_path_rate": "stochastic_depth_prob"}

_MOVED = {
    "refconv.training.networks": "refconv.models.networks",
    "refconv.training.tasks.restorers": "refconv.models.restorers",
}
"""Modules of builders that had another name in earlier versions; records and checkpoints have the old ones."""

_WITH_WEIGHTS = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}
"""Arguments that torchvision's builders set where they load weights: their first layers expect other values."""

_HANDED_OVER = "refconv.improvement.handed_over"  # where networks are that a program handed over in Python

LET_IT = "let the builder take the argument"  #: How the remedy for networks of other classes or channels begins


def build(
    name: str,
    *,
    pretrained: bool = False,
    exact: bool = True,
    asked_by: Mapping[str, str] | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a model by name; arguments that are None are left to the builder.

    The name is a timm name, one with a prefix of timm's, ``torchvision:NAME``, ``detector:HEAD``, ``smp:NAME``,
    ``spandrel:FILE``, or ``module:function`` of anything that can be imported, the current folder included. Names that
    files give are checked by :mod:`refconv.named_code` where they are read.

    With ``exact=False`` a builder of the user's may make other numbers of classes and channels than it is asked for;
    ``asked_by`` names, for messages, the data or weights that have ``num_classes`` and ``in_chans``.
    """
    arguments = {key: value for key, value in arguments.items() if value is not None}
    source, separator, rest = (name := expanded(name)).partition(":")
    if source == "torchvision":
        return _build_torchvision(rest, pretrained, arguments)
    if source in TASK_SOURCES and separator:
        return _build_here(TASK_SOURCES[source], source, rest, pretrained, arguments)
    if separator and source not in TIMM_SOURCES:
        model = _build_own(source, rest, pretrained, arguments)
        if exact:
            _check_ends(model, arguments, asked_by or {}, name)
        return model
    return _build_timm(name, pretrained, arguments)


def address(name: str) -> str:
    """Return a model's name with the module where its builder is today.

    Example:
        >>> address("refconv.training.networks:resnet_small")
        'refconv.models.networks:resnet_small'
    """
    module, separator, function = name.partition(":")
    return f"{_MOVED.get(module, module)}{separator}{function}"


def is_handed_over(name: str) -> bool:
    """Say whether a name is that of a network that a program handed over in Python, which nothing else can build."""
    return name.startswith(f"{_HANDED_OVER}:")


def arguments_with_weights(name: str) -> dict[str, Any]:
    """Return the arguments that come with a model's pretrained weights, so that it can be built again without them."""
    source, _, rest = name.partition(":")
    return dict(_WITH_WEIGHTS.get(rest, {})) if source == "torchvision" else {}


def is_timm(name: str) -> bool:
    """Say whether timm knows the architecture ``name``, with or without a tag of weights."""
    return ":" not in name and bool(timm.is_model(name))


def unavailable(where: str, found: str, remedy: str) -> ModelError:
    """Return the error of pretrained weights that cannot be had."""
    return ModelError("its pretrained weights are not available", where=where, found=found, remedy=remedy)


def hub_config(name: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return what the hub says about ``hf-hub:NAME``: its pretrained_cfg, architecture and arguments."""
    with _explained(name, "timm", pretrained=True):
        cfg, architecture, arguments = timm.models.load_model_config_from_hf(name.partition(":")[2])
    return cfg, architecture, arguments


def published_at(name: str) -> str | None:
    """Return the repository on the hub of the pretrained weights that a timm name or ``hf-hub:NAME`` stands for."""
    if name.startswith("hf-hub:"):
        return name.partition(":")[2]
    known = timm.models.get_pretrained_cfg(name) if name and is_timm(name) else None
    return getattr(known, "hf_hub_id", None) or None


def _build_timm(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    if ":" not in name and not is_timm(name):
        expected = "a timm name, torchvision:NAME, module:function, local-dir:FOLDER, detector:HEAD, smp:NAME or "
        expected += "spandrel:FILE"
        remedy = did_you_mean(name.split(".")[0], timm.list_models())
        raise ModelError(UNKNOWN, where=name, expected=expected, remedy=remedy)
    with _explained(name, "timm", pretrained=pretrained):
        model = cast(nn.Module, timm.create_model(name, pretrained=pretrained, **arguments))
    if pretrained:
        start_anew(model, _unloaded_by_timm(model))
    return model


def _unloaded_by_timm(model: nn.Module) -> set[str]:
    """Return the names of the classifier that timm left out of the pretrained weights, which have other classes."""
    known = getattr(model, "pretrained_cfg", None) or {}
    if getattr(model, "num_classes", None) == known.get("num_classes"):
        return set()
    heads = known.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    return {f"{head}.{entry}" for head in heads for entry in ("weight", "bias")}


def _build_torchvision(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    from torchvision import models

    where = f"torchvision:{name}"
    if name not in models.list_models():
        raise ModelError(UNKNOWN, where=where, remedy=did_you_mean(name, models.list_models()))
    if arguments.pop("in_chans", 3) != 3:
        raise ModelError(
            "torchvision's models take 3 channels", where=where, remedy="give --in-chans 3, in Python in_chans"
        )
    for kind, home in _OF_TORCHVISION.items():
        if name in models.list_models(module=getattr(models, kind)):
            return _build_here(home, "torchvision", name, pretrained, arguments)
    if arguments.get("num_classes") == 0:
        del arguments["num_classes"]
        return _with_features(_build_torchvision(name, pretrained, arguments), where)
    arguments = {_NAMES_IN_TORCHVISION.get(key, key): value for key, value in arguments.items()}
    with _explained(where, "torchvision", pretrained=pretrained):
        if not pretrained:
            return cast(nn.Module, models.get_model(name, weights=None, **arguments))
        model = cast(nn.Module, models.get_model(name, weights=None, **{**_WITH_WEIGHTS.get(name, {}), **arguments}))
        # torchvision's own builder knows how its files are to be read: some have names of earlier versions.
        auxiliary = {"aux_logits": True} if arguments.get("aux_logits") else {}
        state = models.get_model(name, weights="DEFAULT", progress=False, **auxiliary).state_dict()
    own_classes = len(models.get_model_weights(name).DEFAULT.meta["categories"])
    other_classes = arguments.get("num_classes", own_classes) != own_classes
    load_state(model, state, where=f"{where}'s own weights", reset_classifier=other_classes)
    return model


def _with_features(model: nn.Module, where: str) -> nn.Module:
    """Let a model of torchvision's end with its features, as timm's do with 0 classes: its last layer is left out."""
    (last,) = {name.rpartition(".")[0] for name in classifier_names(model)}
    if not isinstance(model.get_submodule(last), nn.Linear):
        what, remedy = "ends with a convolution that gives the classes, not with features", "give another model"
        raise ModelError(what, where=where, remedy=remedy)
    model.set_submodule(last, nn.Identity())
    return model


def _build_here(
    home: tuple[str, str], source: str, name: str, pretrained: bool, arguments: dict[str, Any]
) -> nn.Module:
    """Call one of the project's builders with the arguments it has names for."""
    module, function = home
    where, builder = f"{source}:{name}", getattr(importlib.import_module(f"refconv.models.{module}"), function)
    given = _accepted(builder, {"pretrained": pretrained, **arguments}, where, pretrained)
    with _explained(where, "the builder", pretrained=pretrained):
        return cast(nn.Module, builder(name, **given))


def _build_own(module: str, function: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    where = f"{module}:{function}"
    with _current_folder_importable(), _explained(where, "the builder", pretrained=pretrained):
        builder = _find(module, function)
        trust(where)  # it was given here, or checked where a file gave it
        model = builder(**_accepted(builder, arguments, where, pretrained))
    if not isinstance(model, nn.Module):
        what, found = "the builder returned no model", type(model).__name__
        raise ModelError(what, where=where, expected="a torch.nn.Module", found=found)
    return model


def _find(module: str, function: str) -> Callable[..., Any]:
    """Import a builder."""
    where = f"{module}:{function}"
    try:
        home = importlib.import_module(_MOVED.get(module, module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        remedy = "run where it can be imported, or install it"
        if module.endswith(".py"):
            dotted = module.removesuffix(".py").replace("/", ".").lstrip(".")
            remedy = f"give the module's name instead of its file: {dotted}:{function}"
        raise ModelError("no such module", where=where, remedy=remedy) from error
    builder: Callable[..., Any] | None = getattr(home, function, None)
    if builder is None and module == _HANDED_OVER:
        what = "the model was handed over by a program in Python, and the folder does not say what builds it"
        remedy = "name that by --model (train: also --checkpoint FOLDER/model.safetensors), or use the model in the "
        remedy += "program, which has the weights of the result: refconv.export(model, FILE)"
        raise ModelError(what, where=function, remedy=remedy)
    if builder is None or not callable(builder):
        names = [entry for entry in vars(home) if callable(getattr(home, entry))]
        raise ModelError("no such function in the module", where=where, remedy=did_you_mean(function, names))
    return builder


def _accepted(builder: Callable[..., Any], arguments: dict[str, Any], where: str, pretrained: bool) -> dict[str, Any]:
    """Return the arguments that the builder has names for; only the ends of the network may go without one."""
    given = {**arguments, "pretrained": True} if pretrained else arguments
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    if pretrained and "pretrained" not in parameters:
        what = "has no pretrained weights: its builder takes no argument pretrained"
        remedy = "give a file of weights with --model or --checkpoint, or leave pretrained out"
        raise ModelError(what, where=where, remedy=remedy)
    strange = [key for key in given if key not in parameters and key not in {"num_classes", "in_chans"}]
    if strange:
        what = f"the builder takes no {' and no '.join(strange)}"
        expected = f"some of {', '.join(parameters)}" if parameters else "no arguments"
        raise ModelError(what, where=where, expected=expected, remedy=did_you_mean(strange[0], parameters))
    return {key: value for key, value in given.items() if key in parameters}


def _check_ends(model: nn.Module, arguments: Mapping[str, Any], asked_by: Mapping[str, str], where: str) -> None:
    """Refuse a model whose first or last layer is not what was asked for, as far as that can be seen."""
    layers = list(model.modules())
    first = next((layer.in_channels for layer in layers if isinstance(getattr(layer, "in_channels", None), int)), None)
    last = next((layer.out_features for layer in reversed(layers) if isinstance(layer, nn.Linear)), None)
    ends = (
        ("in_chans", "channels in its first convolution", first),
        ("num_classes", "classes in its last layer", getattr(model, "num_classes", last)),
    )
    for key, words, found in ends:
        expected = arguments.get(key)
        if expected is not None and found is not None and found != expected:
            what, remedy = f"the network has a different number of {words}", f"{LET_IT} {key}"
            wanted = f"{expected}, as {asked_by[key]} has" if key in asked_by else f"{key} = {expected}"
            if key == "in_chans" or found > expected:  # data may be read with other channels, and leave outputs unused
                remedy += f", or in training give --{key.replace('_', '-')} {found}"
            raise ModelError(what, where=where, expected=wanted, found=str(found), remedy=remedy)


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Let modules of the current folder be imported, as ``python -m`` does."""
    added = [] if "" in sys.path or str(Path.cwd()) in sys.path else [str(Path.cwd())]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


@contextlib.contextmanager
def _explained(where: str, what: str, *, pretrained: bool = False) -> Iterator[None]:
    """Turn what a builder raises, a mistake in the model's name or arguments or in its code, into a ModelError."""
    try:
        with _quiet() if pretrained else contextlib.nullcontext():
            yield
    except RefconvError:
        raise
    except Exception as error:  # foreign code
        if pretrained and isinstance(error, OSError):
            remedy = "connect to the network, or give the weights as a file by --checkpoint"
            raise unavailable(where, _first_cause(error), remedy) from error
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        raise ModelError(f"{what} failed to build it", where=where, found=found) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the retries that the hub logs from the terminal, and what torch prints about downloads off stdout."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


def _first_cause(error: OSError) -> str:
    """Return the system's own words about a failed connection, which libraries wrap several times."""
    cause, found = error.__cause__ or error.__context__, error
    while cause is not None:
        found = cause if isinstance(cause, OSError) else found
        cause = cause.__cause__ or cause.__context__
    return f"{type(found).__name__}: {found}"
