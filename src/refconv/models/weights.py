"""Weights in models: load a state dict whole or not at all, and say what does not fit."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refconv.errors import CheckpointError, ModelError, RefconvWarning
from refconv.models.heads import start_anew
from refconv.models.weight_files import read_weights, some
from refconv.surgery import folded_names, in_kernel_space, merged_state, metadata_of, renamed, with_metadata

_OLD_NAMES = ((re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])(?=\.)"), r"\1\2"),)
"""Names in files of earlier versions of public models: torchvision's DenseNets."""

_DETECTION_LAYERS = ("cls_logits", "classification_head.module_list", "box_predictor", "mask_fcn_logits")
"""Layers of torchvision's detectors whose size depends on the number of classes."""


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
            "different number of classes",
            where=where,
            expected=f"{own[name].shape[0]} classes",
            found=f"{state[name].shape[0]} classes ({some(resized)})",
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
        f"{len(names)} {word} ({some(names)})"
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
            found=f"NaN or infinity in {len(broken)} of {len(state)} entries ({some(broken)})",
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
    """Return the dtypes of the tensors of a file of weights, by the names that a model gives them."""
    state = _aligned(read_weights(path), own)
    return {
        name: str(state.get(name, value).dtype).removeprefix("torch.")
        for name, value in own.items()
        if isinstance(state.get(name, value), Tensor)
    }


def _aligned(state: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove the first part of all names, as of Lightning's ``model.``, where none of them is one of the model's."""
    candidate = state
    while candidate and not (folded_names(candidate) & own.keys()):
        heads = {name.partition(".")[0] for name in candidate}
        if len(heads) != 1 or not all("." in name for name in candidate):
            return state
        candidate = renamed(candidate, lambda name: name.partition(".")[2])
    return candidate
