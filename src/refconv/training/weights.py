"""Weights on disk and in models: read a file without running code from it, and load it whole or not at all."""

from __future__ import annotations

import argparse
import errno
import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from refconv.errors import CheckpointError, ModelError
from refconv.training.heads import start_anew

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""Names of the weights inside a model folder, the preferred one first."""

_WRAPPING_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training programs keep the weights inside their checkpoints; averaged weights first, as timm does."""

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before each name."""

_DETECTION_LAYERS = ("cls_logits", "classification_head.module_list", "box_predictor", "mask_fcn_logits")
"""Layers of torchvision's detectors whose size depends on the number of classes."""

# What reading a damaged or foreign file raises depends on where the damage is.
_READING_ERRORS = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError)
_DAMAGE = (*_READING_ERRORS, TypeError, ValueError, struct.error)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read names and tensors from a weights file, without running any code that the file may carry.

    Args:
        path: a ``.safetensors`` file, or a file of ``torch.save``; or a folder that holds one of
            :data:`WEIGHT_FILES`. A training checkpoint is unwrapped (averaged weights are preferred), and prefixes
            of DataParallel and of compiled models are removed.

    Raises:
        CheckpointError: if the file is missing, damaged, refused because it would run code, or holds no weights.
    """
    path = weights_file(path)
    content = read_checkpoint_file(path)
    for key in _WRAPPING_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    strange = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange or not content:
        raise CheckpointError(
            "not a file of weights",
            where=str(path),
            expected="names with tensors, alone or under one of " + ", ".join(_WRAPPING_KEYS),
            found="entries such as " + _some(strange) if strange else "nothing",
        )
    return _without_prefixes(dict(content))


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
            return dict(safetensors.torch.load_file(path))
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
    return dict(content)


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], *, where: str, reset_classifier: bool = False
) -> tuple[str, ...]:
    """Load a state dict strictly: every name and every shape must fit, or the model stays as it is.

    Args:
        model: the model to fill.
        state: plain names and tensors.
        where: the file or folder that the state came from, for messages.
        reset_classifier: leave the classifier of ``model`` as it was initialised, whatever its size in ``state``.

    Returns:
        The names that kept their initial values.

    Raises:
        CheckpointError: if names are missing or surplus, or shapes differ.
    """
    own = model.state_dict()
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
    _check_fit(own, state, anew, where)
    model.load_state_dict({name: own[name] if name in anew else state[name] for name in own}, strict=True)
    # Detectors draw their layers of classes from priors of their own, which their losses need.
    start_anew(model, {name for name in anew if not any(f".{part}." in name for part in _DETECTION_LAYERS)})
    return tuple(name for name in own if name in anew)


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
    unlike = [name for name in own if name in state and own[name].shape != state[name].shape]
    counts = {(own[name].shape[:1], state[name].shape[:1]) for name in unlike}
    if len(counts) != 1 or any(own[name].shape[1:] != state[name].shape[1:] for name in unlike):
        return {}
    expected = own[unlike[0]].shape[0]
    return dict.fromkeys(unlike) if num_classes in {None, expected} else {}


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], anew: set[str], where: str) -> None:
    missing = [name for name in own if name not in state and name not in anew]
    surplus = [name for name in state if name not in own]
    unlike = [name for name in own if name in state and name not in anew and own[name].shape != state[name].shape]
    shapes = [f"{name} is {list(state[name].shape)} instead of {list(own[name].shape)}" for name in unlike]
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


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in _WRAPPER_PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


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
        "remedy": "if you trust its source, save its state dict anew as .safetensors",
    }


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
