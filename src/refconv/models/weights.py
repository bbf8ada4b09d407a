"""Weights in models: load a state dict whole or not at all, and say what does not fit."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from refconv.errors import CheckpointError, ModelError, RefconvWarning
from refconv.models.weight_files import read_weights, some
from refconv.surgery import folded_names, in_kernel_space, merged_state, metadata_of, renamed, with_metadata

_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])(?=\.)")
"""Names in files of earlier versions of torchvision's DenseNets, without the second dot today."""

_DETECTION_LAYERS = ("cls_logits", "classification_head.module_list", "box_predictor", "mask_fcn_logits")
"""Layers of torchvision's detectors whose size depends on the number of classes."""

_LEAST = 4  # tensors of a backbone; a smaller part of a model could fit by chance


def load_state(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    where: str,
    reset_classifier: bool = False,
    settings: Mapping[str, Any] | None = None,
    fit_channels: bool = False,
) -> tuple[str, ...]:
    """Load a state dict strictly: every name and every shape must fit, or the model stays as it is.

    Earlier names and versions are accepted where torch, or the model's own code, accepts them: batch norms without
    ``num_batches_tracked``, for instance. A state of kernel space is merged first; ``settings`` are what it does not
    say itself, see :func:`refconv.surgery.merged_state`. ``where`` is the file, for messages. With
    ``reset_classifier`` the classifier starts anew whatever its size in ``state``; its names are returned. With
    ``fit_channels`` a first convolution of another number of input channels is made to fit; see :func:`with_channels`.
    A classifier in ``state`` is left out, with a warning, where the model ends with its features.
    """
    own = model.state_dict()
    state = _aligned(state, own)
    if in_kernel_space(state):
        state = merged_state(model, state, settings, where=where)
    state = _without_head(model, own, state, where)
    if fit_channels:
        state = _channels_fitted(own, state, where)
    resized = _resized_classifier(own, state, getattr(model, "num_classes", None))
    anew: set[str] = set()
    if reset_classifier:
        anew = {name for name in own if name in classifier_names(model)} | set(resized)
    elif resized:
        wanted, given = (f"{of[next(iter(resized))].shape[0]} classes" for of in (own, state))
        what, rows = "different number of classes", state[next(iter(resized))].shape[0]
        remedy = (
            f"build the model with num_classes={rows}, as adopt does; in training --reset-classifier makes a new one"
        )
        raise CheckpointError(what, where=where, expected=wanted, found=f"{given} ({some(resized)})", remedy=remedy)
    kept = {name: value for name, value in state.items() if name not in anew}
    fresh = {name: value for name, value in own.items() if name in anew}
    candidate = with_metadata({**kept, **fresh}, metadata_of(state))
    if candidate.keys() == own.keys():
        # Without versions, as in safetensors files, names that all fit are those of the model's own version.
        understood: OrderedDict[str, Any] | None = with_metadata(candidate, metadata_of(state) or metadata_of(own))
        _check_fit(own, state, anew, where)
    elif (understood := _understood(model, candidate)) is None:
        _check_fit(own, state, anew, where)
    _check_finite(model, kept, where)
    _say_conversion(own, kept, where)
    model.load_state_dict(understood or candidate, strict=True)
    # Detectors draw their layers of classes from priors of their own, which their losses need.
    start_anew(model, {name for name in anew if not _of_detection(name)})
    return tuple(name for name in own if name in anew)


def load_published(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load torchvision's weights of a detector or segmenter; layers of another number of classes keep their values.

    Weights of an auxiliary head that is not built are left out.
    """
    own = model.state_dict()
    # Frozen batch norms, as torchvision trained them, count no batches.
    counts = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    given = {name: value for name, value in state.items() if name in own or not name.startswith("aux_classifier.")}
    unlike = [name for name in own if name in given and own[name].shape != given[name].shape]
    classes = {name: own[name] for name in unlike if own[name].shape[1:] == given[name].shape[1:]}
    load_state(model, {**counts, **given, **classes}, where=f"{where}'s own weights")


def with_channels(kernel: Tensor, channels: int) -> Tensor:
    """Return the kernel [out, channels, ...] of a first convolution for another number of input channels, as timm does.

    For one channel the kernels of the channels are summed: on a grey image the layer gives what it gave on three equal
    channels. Otherwise they are repeated as often as needed, times old / new channels, which keeps the sum.

    Example:
        >>> kernel = torch.tensor([1.0, 2, 3]).view(1, 3, 1)
        >>> with_channels(kernel, 1).flatten().tolist(), with_channels(kernel, 6).flatten().tolist()
        ([6.0], [0.5, 1.0, 1.5, 0.5, 1.0, 1.5])
    """
    given = kernel.shape[1]
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeats = [1, -(-channels // given), *[1] * (kernel.ndim - 2)]
    return kernel.repeat(repeats)[:, :channels] * (given / channels)


def _without_head(
    model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Any], where: str
) -> Mapping[str, Any]:
    """Return a state without the classifier that a model has not: one that ends with an identity in its place."""
    ends = [*_heads(model), *list(model.named_modules())[-1:]]
    heads = [name for name, head in ends if isinstance(head, nn.Identity)]
    left_out = [name for name in state if name not in own and name.rpartition(".")[0] in heads]
    if not left_out:
        return state
    message = f"{where}: {', '.join(left_out)} are left out: the model ends with its features"
    warnings.warn(message, RefconvWarning, stacklevel=4)
    return with_metadata({name: value for name, value in state.items() if name not in left_out}, metadata_of(state))


def _channels_fitted(own: Mapping[str, Tensor], state: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a state whose first convolution has the model's input channels, if that is how the two differ."""
    first = next((name for name, value in own.items() if value.ndim > 2), None)
    if first is None or first not in state or _shape(state[first]) == _shape(own[first]):
        return state
    wanted, given = own[first].shape, state[first].shape
    if (wanted[0], *wanted[2:]) != (given[0], *given[2:]):
        return state
    how = "its kernels are summed" if wanted[1] == 1 else "its kernels are repeated and scaled"
    message = f"{where}: {first} takes {given[1]} channels, the model {wanted[1]}: {how}, as timm does"
    warnings.warn(message, RefconvWarning, stacklevel=4)
    return with_metadata({**state, first: with_channels(state[first], wanted[1])}, metadata_of(state))


def start_anew(model: nn.Module, names: Collection[str]) -> None:
    """Draw the linear layers and convolutions all of whose parameters are among ``names`` by ``reset_parameters``.

    What an architecture's own initialisation gives its classifier is made for training everything from scratch. timm's
    EfficientNets draw it with a standard deviation of 0.18 at ten classes, whatever the number of features, so that
    beside trained features the first outputs are far apart and the first loss is several times log(classes).
    """
    for prefix, module in model.named_modules():
        own = {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)}
        if own and own <= set(names) and isinstance(module, (nn.Linear, _ConvNd)):
            module.reset_parameters()


def fill_backbone(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> str:
    """Fill the largest part of a model that a classifier's weights cover wholly; return its name.

    A backbone is the classifier without its head, somewhere inside another model, and timm names its stages a little
    differently when it gives features: ``stages_0`` for ``stages.0``. So the backbone is the part of the model all of
    whose weights the classifier has, by name and shape. The rest of the model stays as it is.
    """
    best: tuple[int, str, dict[str, Tensor], dict[str, Tensor]] = (0, "", {}, {})
    nearest: tuple[int, str, list[str]] = (0, "", [])
    for start in ("", *dict.fromkeys(f"{name.split('.')[0]}." for name in state)):  # torchvision's lie in "features."
        source = {_canonical(name.removeprefix(start)): t for name, t in state.items() if name.startswith(start)}
        for prefix, module in model.named_modules():
            own = module.state_dict()
            fits = {name for name, value in own.items() if _shape(source.get(_canonical(name))) == _shape(value)}
            if len(own) >= _LEAST and len(fits) == len(own) > best[0]:
                best = (len(own), prefix, own, source)
            if len(fits) > nearest[0]:
                nearest = (len(fits), prefix, [name for name in own if name not in fits])
    count, prefix, own, source = best
    # A part of the backbone may fit while the backbone does not: a block alone, or a stem of other channels.
    if not count or 2 * count < len(state):
        _, near, lacking = nearest
        differing = f"{len(lacking)} that differ in {near or 'the model'}, such as {lacking[0]}" if lacking else None
        what, found = "no part of the model is the backbone of this classifier", differing or "nothing alike"
        expected = "the weights of the backbone, by name and shape"
        remedy = "train the classifier with the same architecture and input channels"
        raise CheckpointError(what, where=where, expected=expected, found=found, remedy=remedy)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(source[_canonical(name)])
    return prefix


def _canonical(name: str) -> str:
    return name.replace("_", ".")


def _understood(model: nn.Module, state: OrderedDict[str, Any]) -> OrderedDict[str, Any] | None:
    """Return the state, under today's names if need be, if torch and the model's own code take it; tried on a copy."""
    for candidate in (state, renamed(state, partial(_OLD_NAME.sub, r"\1\2"))):
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
    detecting = {name for name in model.state_dict() if _of_detection(name)}
    if detecting and not callable(getattr(model, "get_classifier", None)):
        return detecting
    names = {f"{name}.{entry}" for name, head in _heads(model) for entry in head.state_dict()}
    if not names:
        where, expected = type(model).__name__, "a method get_classifier(), or a linear layer at the end"
        remedy = "load a checkpoint with the same number of classes, without --reset-classifier"
        raise ModelError("no classifier found", where=where, expected=expected, remedy=remedy)
    return names


def _heads(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that ``get_classifier`` returns, else the last layer, with their names."""
    find = getattr(model, "get_classifier", None)
    found = find() if callable(find) else _last_layer(model)
    heads = found if isinstance(found, (tuple, list)) else [found]
    return [(name, module) for name, module in model.named_modules() if any(module is head for head in heads)]


def _of_detection(name: str) -> bool:
    return any(f".{part}." in name for part in _DETECTION_LAYERS)


def _last_layer(model: nn.Module) -> nn.Module | None:
    """Return the last linear layer, or the last convolution if it gives the classes, as in SqueezeNet."""
    layers = list(reversed(list(model.modules())))
    classes = getattr(model, "num_classes", None)
    linear = (layer for layer in layers if isinstance(layer, nn.Linear))
    convolutions = (layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.out_channels == classes)
    return next(linear, None) or next(convolutions, None)


def _resized_classifier(own: Mapping[str, Tensor], state: Mapping[str, Tensor], num_classes: Any) -> dict[str, None]:
    """Return the names that differ, if they differ as another number of classes would make them differ."""
    if any(name not in state and not name.endswith(".num_batches_tracked") for name in own):
        return {}  # another network altogether
    unlike = [name for name in own if name in state and _shape(own[name]) != _shape(state[name])]
    counts = {(own[name].shape[:1], state[name].shape[:1]) for name in unlike}
    if len(counts) != 1 or any(own[name].shape[1:] != state[name].shape[1:] for name in unlike):
        return {}
    if () in next(iter(counts)):  # a number has no classes
        return {}
    return dict.fromkeys(unlike) if num_classes in {None, own[unlike[0]].shape[0]} else {}


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if isinstance(value, Tensor) else None


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], anew: set[str], where: str) -> None:
    missing = [name for name in own if name not in state and name not in anew]
    # Counters of batch norm may be missing, as in files of before they were; what else is missing is what is wrong.
    missing = [name for name in missing if not name.endswith(".num_batches_tracked")] or missing
    surplus = [name for name in state if name not in own]
    both = [name for name in own if name in state and name not in anew]
    unlike = [name for name in both if _shape(own[name]) != _shape(state[name])]
    shapes = [f"{name} is {_shape(state[name])} instead of {_shape(own[name])}" for name in unlike]
    wrong = {"missing": missing, "surplus": surplus, "of another shape": shapes}
    clauses = [f"{len(names)} {word} ({some(names)})" for word, names in wrong.items() if names]
    if clauses:
        expected, remedy = f"{len(own)} entries", "give the model that the weights were trained with"
        what, found = "does not fit this model", ", ".join(clauses)
        others = [name for name in surplus if not name.endswith(".num_batches_tracked")]
        alike = [_shape(state[name]) for name in others] == [_shape(own[name]) for name in missing]
        if alike and others and not unlike:
            remedy = f"{_renaming(others, missing)}, or {remedy}"
        raise CheckpointError(what, where=where, expected=expected, found=found, remedy=remedy)


def _renaming(old: list[str], new: list[str]) -> str:
    """Return how names may have come to differ, in words: their shapes are alike in order."""
    heads = set()
    for pair in zip(old, new, strict=True):
        parts = [name.split(".") for name in pair]
        while all(parts) and parts[0][-1] == parts[1][-1]:
            parts = [names[:-1] for names in parts]
        heads.add(tuple(".".join([*names, ""]) for names in parts))
    more = ", ..." if len(old) > 1 else ""
    if len(heads) == 1:
        begun, wanted = (f"with {head}" if head else "without prefix" for head in next(iter(heads)))
        more = f"; all begin {begun}, the model's {wanted}"
    how = f"rename the keys ({old[0]} -> {new[0]}{more})"
    return f"the shapes are the same in the same order, so names alone may differ: {how}"


def not_finite(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's tensors that hold NaN, or infinity where that is no value.

    Masks and other buffers may hold infinity; parameters and the statistics of batch norms may not.

    Args:
        model: whose tensors they are.
        state: tensors by name, of which there may be more or fewer than in the model.

    Example:
        >>> norm = nn.BatchNorm2d(2)
        >>> not_finite(norm, {"running_var": torch.tensor([1.0, torch.inf])})
        ['running_var']
    """
    norms = [f"{name}." if name else "" for name, module in model.named_modules() if isinstance(module, _NormBase)]
    statistics = {f"{norm}{own}" for norm in norms for own in ("running_mean", "running_var")}
    unbounded = {name for name, _ in model.named_buffers()} - statistics
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    strange = ((name, value.isnan() if name in unbounded else ~value.isfinite()) for name, value in tensors.items())
    return [name for name, found in strange if bool(found.any())]


def _check_finite(model: nn.Module, state: Mapping[str, Any], where: str) -> None:
    if broken := not_finite(model, state):
        found = f"NaN or infinity in {len(broken)} of {len(state)} entries ({some(broken)})"
        what, remedy = "the weights are not finite", "take weights from before training diverged"
        raise CheckpointError(what, where=where, expected="finite numbers", found=found, remedy=remedy)


def _say_conversion(own: Mapping[str, Any], state: Mapping[str, Any], where: str) -> None:
    """Warn of a file in another precision than the model's, in which its weights are used and saved, as by torch."""
    dtypes = {
        (_dtype(value), _dtype(own[name]))
        for name, value in state.items()
        if isinstance(value, Tensor) and name in own and value.is_floating_point() and value.dtype != own[name].dtype
    }
    for stored, used in sorted(dtypes):
        message = f"{where}: weights are {stored}; the model computes, trains and is saved in {used}"
        warnings.warn(message, RefconvWarning, stacklevel=3)


def dtypes_in(path: Path | str | None, own: Mapping[str, Any]) -> dict[str, str]:
    """Return the dtypes of a model's tensors: as a file of weights holds them, else, or without a file, its own."""
    state = {} if path is None else _aligned(read_weights(path), own)
    found = {name: state.get(name, value) for name, value in own.items()}
    return {name: _dtype(value) for name, value in found.items() if isinstance(value, Tensor)}


def _aligned(state: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove the first part of all names, as of Lightning's ``model.``, where none of them is one of the model's."""
    candidate = state
    while candidate and not (folded_names(candidate) & own.keys()):
        heads = {name.partition(".")[0] for name in candidate}
        if len(heads) != 1 or not all("." in name for name in candidate):
            return state
        candidate = renamed(candidate, lambda name: name.partition(".")[2])
    return candidate
