"""Weights on disk and in models: read a file without running code from it, and load it whole or not at all."""

from __future__ import annotations

import argparse
import copy
import errno
import json
import pickle
import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from refconv.errors import CheckpointError, ModelError, RefconvWarning
from refconv.models.heads import start_anew
from refconv.surgery import folded_names, in_kernel_space, merged_state, metadata_of, renamed, with_metadata

VERSIONS = "module_versions"
"""Under which name a safetensors file of this package holds the versions of modules, as JSON."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""Names of the weights inside a model folder, the preferred one first."""

_WRAPPING_KEYS = (
    "state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema_model", "ema",
    "state_dict", "model_state_dict", "model_state", "model", "params", "net", "network", "weights", "module",
)  # fmt: skip
"""Where training programs keep the weights inside their checkpoints; averaged weights first, as timm does."""

_WRAPPERS = re.compile(r"(^|\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(?=\.)")
"""What torch.compile, activation checkpointing and FSDP put into names, anywhere."""

_COUNTER, _EXTRA = "n_averaged", "_extra_state"
"""What torch's AveragedModel counts beside its weights; the name of a module's state that is no tensor."""

_OLD_NAMES = ((re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])(?=\.)"), r"\1\2"),)
"""Names in files of earlier versions of public models: torchvision's DenseNets."""

_DETECTION_LAYERS = ("cls_logits", "classification_head.module_list", "box_predictor", "mask_fcn_logits")
"""Layers of torchvision's detectors whose size depends on the number of classes."""

# What reading a damaged or foreign file raises depends on where the damage is.
_READING_ERRORS = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError)
_DAMAGE = (*_READING_ERRORS, TypeError, ValueError, struct.error)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read names and tensors from a weights file, without running any code that the file may carry.

    Args:
        path: a ``.safetensors`` file, or a file of ``torch.save``; or a folder that holds one of
            :data:`WEIGHT_FILES`. A training checkpoint is unwrapped (averaged weights are preferred, and where there
            is a choice it is said by a warning), and what DataParallel, AveragedModel, torch.compile and FSDP add to
            names is removed. Versions of modules (``_metadata``) are kept.

    Raises:
        CheckpointError: if the file is missing, damaged, refused because it would run code, or holds no weights.
    """
    path = weights_file(path)
    content = read_checkpoint_file(path)
    found = _weights_in(content, str(path))
    if found is None:
        strange = [str(key) for key, value in content.items() if not _is_entry(key, value)]
        raise CheckpointError(
            "not a file of weights",
            where=str(path),
            expected="names with tensors, alone or under one of " + ", ".join(_WRAPPING_KEYS),
            found="entries such as " + _some(strange) if strange else "nothing",
        )
    return _without_wrappers(found)


def _is_entry(key: Any, value: Any) -> bool:
    return isinstance(key, str) and (isinstance(value, Tensor) or key.rpartition(".")[2] == _EXTRA)


def _weights_in(content: Mapping[Any, Any], where: str) -> Mapping[str, Any] | None:
    """Return the names and tensors of a mapping, or of the first mapping of weights inside it."""
    if content and all(_is_entry(key, value) for key, value in content.items()):
        return content
    inner = {key: content[key] for key in _WRAPPING_KEYS if isinstance(content.get(key), Mapping)}
    found = {key: state for key, value in inner.items() if (state := _weights_in(value, where)) is not None}
    if len(found) > 1:
        taken, *others = found
        message = f"{where}: holds several sets of weights; {taken} is taken, not {', '.join(others)}"
        warnings.warn(message, RefconvWarning, stacklevel=4)
    return next(iter(found.values()), None)


def is_run_checkpoint(path: Path) -> bool:
    """Say whether a file is the checkpoint of a run of refconv, and not weights alone.

    Raises:
        CheckpointError: if it cannot be read, or is refused because it would run code.
    """
    return path.suffix != ".safetensors" and {"format", "step", "recipe"} <= read_checkpoint_file(path).keys()


def weights_file(path: Path | str) -> Path:
    """Return the file that holds the weights of a file or folder.

    Raises:
        CheckpointError: if there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError("no such file or folder", where=str(path))
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError("no weights in this folder", where=str(path), expected="a file " + " or ".join(WEIGHT_FILES))


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """Read the mapping that a checkpoint file holds, tensors on the CPU, without running any code.

    Args:
        path: a ``.safetensors`` file or a file of ``torch.save``.

    Raises:
        CheckpointError: if the file cannot be read, is damaged, or is refused because it would run code.
    """
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        # Checkpoints of many training programs hold their arguments as a Namespace, which is harmless.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # said better by the error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(**_why_refused(error), where=str(path)) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError("damaged or not a safetensors file", where=str(path), found=str(error)) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # torch seeks before the beginning of a file that was cut short
            raise CheckpointError("damaged: the file was cut short", where=str(path)) from error
        raise CheckpointError("cannot be read", where=str(path), found=str(error)) from error
    except _DAMAGE as error:
        raise CheckpointError(
            "damaged or not a checkpoint",
            where=str(path),
            expected="a whole file written by torch.save, or .safetensors",
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            "not a file of weights", where=str(path), expected="names with tensors", found=type(content).__name__
        )
    return content if isinstance(content, dict) else dict(content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Read the tensors of a safetensors file, and the versions of modules where this package wrote them."""
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        versions = json.loads((file.metadata() or {}).get(VERSIONS, "{}"))
    return with_metadata(tensors, {name: {"version": version} for name, version in versions.items()})


def load_state(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    where: str,
    reset_classifier: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Load a state dict strictly: every name and every shape must fit, or the model stays as it is.

    Names and versions of before are understood where torch, or the model's own code, understands them: batch norms
    without ``num_batches_tracked``, for instance. A state of kernel space is merged first.

    Args:
        model: the model to fill.
        state: plain names and tensors.
        where: the file or folder that the state came from, for messages.
        reset_classifier: leave the classifier of ``model`` as it was initialised, whatever its size in ``state``.
        settings: for a state of kernel space: what it does not say itself; see :func:`refconv.surgery.merged_state`.

    Returns:
        The names that kept their initial values.

    Raises:
        CheckpointError: if names are missing or surplus, shapes differ, or a weight is NaN or infinite.
    """
    own = model.state_dict()
    state = _aligned(state, own)
    if in_kernel_space(state):
        state = merged_state(model, state, settings, where=where)
    resized = _resized_classifier(own, state, getattr(model, "num_classes", None))
    anew: set[str] = set()
    if reset_classifier:
        anew = {name for name in own if name in classifier_names(model)} | set(resized)
    elif resized:
        name = next(iter(resized))
        raise CheckpointError(
            "other number of classes",
            where=where,
            expected=f"{own[name].shape[0]} classes",
            found=f"{state[name].shape[0]} classes ({_some(resized)})",
            remedy="--reset-classifier starts the classifier anew",
        )
    kept = {name: value for name, value in state.items() if name not in anew}
    fresh = {name: value for name, value in own.items() if name in anew}
    candidate = with_metadata({**kept, **fresh}, metadata_of(state))
    if candidate.keys() == own.keys():
        # Without versions, as in safetensors files, names that all fit are those of the model's own version.
        candidate = with_metadata(candidate, metadata_of(state) or metadata_of(own))
    if candidate.keys() == own.keys():
        _check_fit(own, state, anew, where)
    else:
        understood = _understood(model, candidate)
        if understood is None:
            _check_fit(own, state, anew, where)
        candidate = understood or candidate
    _check_finite(model, kept, where)
    _say_conversion(own, kept, where)
    model.load_state_dict(candidate, strict=True)
    # Detectors draw their layers of classes from priors of their own, which their losses need.
    start_anew(model, {name for name in anew if not any(f".{part}." in name for part in _DETECTION_LAYERS)})
    return tuple(name for name in own if name in anew)


def _understood(model: nn.Module, state: OrderedDict[str, Any]) -> OrderedDict[str, Any] | None:
    """Return the state, under today's names if need be, if torch and the model's own code take it; tried on a copy."""
    candidates = [state]
    for pattern, today in _OLD_NAMES:
        candidates.append(renamed(candidates[-1], partial(pattern.sub, today)))
    for candidate in candidates:
        try:
            copy.deepcopy(model).load_state_dict(candidate, strict=True)
        except (KeyError, RuntimeError, ValueError):  # torch's own, and what models of several versions raise
            continue
        return candidate
    return None


def classifier_names(model: nn.Module) -> set[str]:
    """Return the state-dict names of the classifier: what ``get_classifier`` says, else the last layer.

    Of torchvision's detectors, the layers that give classes and, where there is one per class, boxes and masks.

    Raises:
        ModelError: if there is neither.
    """
    modules = dict(model.named_modules())
    detecting = {name for name in model.state_dict() if any(f".{part}." in name for part in _DETECTION_LAYERS)}
    find = getattr(model, "get_classifier", None)
    if detecting and not callable(find):
        return detecting
    found = find() if callable(find) else _last_layer(model)
    heads = [head for head in (found if isinstance(found, (tuple, list)) else [found]) if isinstance(head, nn.Module)]
    names = {
        f"{name}.{entry}"
        for name, module in modules.items()
        for head in heads
        if module is head
        for entry in head.state_dict()
    }
    if not names:
        raise ModelError(
            "no classifier found",
            where=type(model).__name__,
            expected="a method get_classifier(), or a linear layer at the end",
            remedy="load a checkpoint with the same number of classes, without --reset-classifier",
        )
    return names


def _last_layer(model: nn.Module) -> nn.Module | None:
    """Return the last linear layer, or the last convolution if it gives the classes, as in SqueezeNet."""
    layers = list(reversed(list(model.modules())))
    classes = getattr(model, "num_classes", None)
    linear = (layer for layer in layers if isinstance(layer, nn.Linear))
    convolutions = (layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.out_channels == classes)
    return next(linear, None) or next(convolutions, None)


def _resized_classifier(own: Mapping[str, Tensor], state: Mapping[str, Tensor], num_classes: Any) -> dict[str, None]:
    """Return the names that differ, if they differ as another number of classes would make them differ."""
    unlike = [name for name in own if name in state and _shape(own[name]) != _shape(state[name])]
    counts = {(own[name].shape[:1], state[name].shape[:1]) for name in unlike}
    if len(counts) != 1 or any(own[name].shape[1:] != state[name].shape[1:] for name in unlike):
        return {}
    expected = own[unlike[0]].shape[0]
    return dict.fromkeys(unlike) if num_classes in {None, expected} else {}


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if isinstance(value, Tensor) else None


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], anew: set[str], where: str) -> None:
    missing = [name for name in own if name not in state and name not in anew]
    # Counters of batch norm may be missing, as in files of before they were; what else is missing is what is wrong.
    missing = [name for name in missing if not name.endswith(".num_batches_tracked")] or missing
    surplus = [name for name in state if name not in own]
    both = [name for name in own if name in state and name not in anew]
    unlike = [name for name in both if _shape(own[name]) != _shape(state[name])]
    shapes = [f"{name} is {_shape(state[name])} instead of {_shape(own[name])}" for name in unlike]
    clauses = [
        f"{len(names)} {word} ({_some(names)})"
        for word, names in (("missing", missing), ("surplus", surplus), ("of another shape", shapes))
        if names
    ]
    if clauses:
        raise CheckpointError(
            "does not fit this model",
            where=where,
            expected=f"{len(own)} entries",
            found=", ".join(clauses),
            remedy="give the model that the weights were trained with",
        )


def _check_finite(model: nn.Module, state: Mapping[str, Any], where: str) -> None:
    parameters = {name for name, _ in model.named_parameters()}
    broken = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor)
        and not bool(value.isfinite().all() if name in parameters else not value.isnan().any())  # masks hold infinity
    ]
    if broken:
        raise CheckpointError(
            "the weights are not finite",
            where=where,
            expected="finite numbers",
            found=f"NaN or infinity in {len(broken)} of {len(state)} entries ({_some(broken)})",
            remedy="take weights from before training diverged",
        )


def _say_conversion(own: Mapping[str, Any], state: Mapping[str, Any], where: str) -> None:
    """Warn of a file in another precision than the model's, in which its weights are used and saved, as by torch."""
    dtypes = {
        (str(value.dtype).removeprefix("torch."), str(own[name].dtype).removeprefix("torch."))
        for name, value in state.items()
        if isinstance(value, Tensor) and name in own and value.is_floating_point() and value.dtype != own[name].dtype
    }
    for stored, used in sorted(dtypes):
        message = f"{where}: weights are {stored}; the model computes, trains and is saved in {used}"
        warnings.warn(message, RefconvWarning, stacklevel=3)


def dtypes_in(path: Path | str, own: Mapping[str, Any]) -> dict[str, str]:
    """Return the dtypes of the tensors of a file of weights, by the names that a model gives them.

    Args:
        path: as :func:`read_weights` takes it.
        own: the state of the model; what the file does not hold under the model's names has its dtypes.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    state = _aligned(read_weights(path), own)
    return {
        name: str(state.get(name, value).dtype).removeprefix("torch.")
        for name, value in own.items()
        if isinstance(state.get(name, value), Tensor)
    }


def _without_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what wrappers add to the names: of compiled and checkpointed modules, DataParallel, AveragedModel."""
    state = renamed(state, lambda name: _WRAPPERS.sub("", name).removeprefix("."))
    while all(name.startswith("module.") for name in state if name != _COUNTER) and set(state) - {_COUNTER}:
        kept = with_metadata({name: state[name] for name in state if name != _COUNTER}, metadata_of(state))
        state = renamed(kept, lambda name: name.removeprefix("module."))
    return dict(state) if not metadata_of(state) else state


def _aligned(state: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove the first part of all names, as of Lightning's ``model.``, where none of them is one of the model's."""
    candidate = state
    while candidate and not (folded_names(candidate) & own.keys()):
        heads = {name.partition(".")[0] for name in candidate}
        if len(heads) != 1 or not all("." in name for name in candidate):
            return state
        candidate = renamed(candidate, lambda name: name.partition(".")[2])
    return candidate


def _why_refused(error: pickle.UnpicklingError) -> dict[str, str]:
    """Tell a pickle that asks for code from one that torch cannot follow at all."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked is None:
        return {
            "what": "damaged, or a pickle of more than tensors",
            "expected": "a whole file written by torch.save",
        }
    return {
        "what": "refused, because reading it would run code",
        "expected": "tensors only",
        "found": f"a request for {asked[1]}",
        "remedy": "if you trust its source, save its state dict alone: "
        "torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)",
    }


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
