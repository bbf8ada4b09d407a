"""Adapter files: what refocusing learned, apart from the pretrained model it belongs to.

A safetensors file with a refocus weight per layer, or what another transformation trains there, and, unless asked
otherwise, every other tensor of the model, so that loading it onto the pretrained model gives the trained one. Its
metadata hold the format version, the settings of every layer and a fingerprint of every base: an adapter never loads
onto kernels it was not trained for.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from refconv.config import GramConfig
from refconv.errors import CheckpointError, ModelError, SettingError
from refconv.layers import Layer, check_base, check_shared, find_layers
from refconv.parametrizations import ForwardScope, KernelTransform, config_of, transform_named
from refconv.records import with_scale
from refconv.surgery.attach import STEM, attach, base_of, transformed
from refconv.surgery.guard import check_names, check_unsharded, check_unwrapped
from refconv.surgery.reparametrization import transform_at
from refconv.surgery.state import check_keys
from refconv.surgery.tensor_file import file_bytes

FORMAT = "refconv-adapter"
VERSION = 1
_TRANSFORM, _BASE = "transform", "base"


def fingerprint(tensor: Tensor) -> str:
    """Return a hash of a tensor's dtype, shape and exact values, whatever its device and memory format."""
    flat = tensor.detach().cpu().contiguous()
    content = ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size())
    return hashlib.sha256(f"{flat.dtype}{tuple(flat.shape)}".encode() + content).hexdigest()[:32]


def save_adapter(model: nn.Module, path: Path | str, *, rest: bool = True) -> None:
    """Save a refocused model's adapter.

    Args:
        model: a refocused model.
        path: the safetensors file to write.
        rest: also save everything else that the model holds (norms, biases, classifier, unrefocused kernels),
            which usually was trained along; without it the file holds what the transformations train alone.

    Raises:
        ModelError: if nothing in the model is refocused.
    """
    check_unwrapped(model, "save an adapter of")
    check_names(model, "save an adapter of")
    found = list(transformed(model))
    if not found:
        raise ModelError("no adapter to save", where=type(model).__name__, expected="a refocused model")
    tensors, layers = {}, {}
    for name, module, transform in found:
        for key, value in _trained(transform).items():
            tensors[_key(name, key)] = value.detach().cpu().contiguous().clone()
        layers[name] = {
            _TRANSFORM: transform.config.method,
            **transform.settings(),
            _BASE: fingerprint(base_of(module)),
        }
    if rest:
        tensors.update((key, value.detach().cpu().contiguous().clone()) for key, value in _rest(model).items())
    metadata = {"format": FORMAT, "version": str(VERSION), "rest": json.dumps(rest), "sites": json.dumps(layers)}
    Path(path).write_bytes(file_bytes(tensors, metadata))  # save_file gives rights to the owner alone


def load_adapter(model: nn.Module, path: Path | str) -> None:
    """Refocus a pretrained model as an adapter file says and load what it learned, in place, all or nothing.

    Args:
        model: the plain pretrained model that the adapter was trained from.
        path: a file that :func:`save_adapter` wrote.

    Raises:
        CheckpointError: if the file cannot be read, is of another format or version, names layers that the model does
            not have, was trained from other kernels, or misses or adds keys. The model is untouched then.
    """
    check_unwrapped(model, "load an adapter into")
    check_names(model, "load an adapter into")
    metadata, tensors = _read(Path(path))
    settings: dict[str, dict[str, Any]] = json.loads(metadata["sites"])
    layers = {layer.name: layer for layer in find_layers(model)}
    absent = [name for name in settings if name not in layers]
    if absent:
        raise CheckpointError(
            f"the model has no convolution {', '.join(absent[:8])}",
            where=str(path),
            remedy="load the architecture it was trained on",
        )
    chosen = [layers[name] for name in settings]
    _check_bases(chosen, settings, str(path))
    check_shared(chosen)
    transforms = _transforms(chosen, settings, str(path))
    learned = {
        _key(layer.name, key) for sharers, transform in transforms for layer in sharers for key in _trained(transform)
    }
    rest = [key for key in model.state_dict() if key not in {_key(layer.name, "weight") for layer in chosen}]
    if not json.loads(metadata["rest"]):
        rest = []
    check_keys(
        [*sorted(learned), *rest], list(tensors), where=str(path), remedy="the file does not belong to this model"
    )
    own = model.state_dict()
    for key in rest:
        _check_shape(key, own[key], tensors[key], str(path))
    for sharers, transform in transforms:
        for key, parameter in _trained(transform).items():
            _check_shape(_key(sharers[0].name, key), parameter, tensors[_key(sharers[0].name, key)], str(path))
    with torch.no_grad():
        for sharers, transform in transforms:
            for key, parameter in _trained(transform).items():
                parameter.copy_(tensors[_key(sharers[0].name, key)])
    for sharers, transform in transforms:
        attach([layer.module for layer in sharers], transform)
    transforms[0][1].scope.attach(model)
    with torch.no_grad():
        current = model.state_dict()
        for key in rest:
            current[key].copy_(tensors[key])


def _transforms(
    chosen: list[Layer], settings: dict[str, dict[str, Any]], where: str
) -> list[tuple[list[Layer], KernelTransform]]:
    """Return a new transformation for every kernel, with the layers that share it.

    Raises:
        CheckpointError: if the settings of a layer are not those of a transformation.
    """
    scope = ForwardScope()
    by_weight: dict[int, tuple[list[Layer], KernelTransform]] = {}
    for layer in chosen:
        own = {key: value for key, value in settings[layer.name].items() if key not in {_TRANSFORM, _BASE}}
        name = settings[layer.name].get(_TRANSFORM, "refocus")  # files of before there were others do not say
        try:
            own = with_scale(own) if issubclass(transform_named(name).config_class, GramConfig) else own
            if id(layer.weight) not in by_weight:
                by_weight[id(layer.weight)] = [], transform_at(layer, config_of(name, own), scope)
        except SettingError as error:
            raise CheckpointError(
                "holds settings of another version", where=f"{layer.label} in {where}", found=str(error)
            ) from error
        by_weight[id(layer.weight)][0].append(layer)
    return list(by_weight.values())


def _trained(transform: KernelTransform) -> dict[str, nn.Parameter]:
    return dict(transform.named_parameters())


def _check_bases(chosen: list[Layer], settings: dict[str, dict[str, Any]], where: str) -> None:
    foreign = []
    for layer in chosen:
        if layer.obstacle:
            raise CheckpointError(
                f"{layer.label} is {layer.obstacle}", where=where, remedy="load onto the plain pretrained model"
            )
        check_base(layer)
        check_unsharded(layer)
        assert layer.weight is not None
        if fingerprint(layer.weight) != settings[layer.name][_BASE]:
            foreign.append(layer.label)
    if foreign:
        shown = ", ".join(foreign[:8]) + (", ..." if len(foreign) > 8 else "")
        raise CheckpointError(
            f"the base differs at {len(foreign)} of {len(chosen)} layers: {shown}",
            where=where,
            expected="the pretrained kernels that the adapter was trained from",
            remedy="load those weights first",
        )


def _check_shape(key: str, own: Tensor, found: Tensor, where: str) -> None:
    if own.shape != found.shape:
        raise CheckpointError(
            f"{key} has another shape", where=where, expected=str(list(own.shape)), found=str(list(found.shape))
        )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError("no such file", where=str(path))
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dictionary
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"not readable as safetensors ({error})", where=str(path)) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            "not an adapter file", where=str(path), expected=f"format {FORMAT}", found=str(metadata.get("format"))
        )
    if metadata.get("version") != str(VERSION):
        raise CheckpointError(
            "written in another format version",
            where=str(path),
            expected=str(VERSION),
            found=str(metadata.get("version")),
            remedy="use the refconv version that wrote it",
        )
    damaged = [key for key in ("sites", "rest") if key not in metadata]
    if damaged:
        raise CheckpointError(f"lacks {' and '.join(damaged)} in its metadata", where=str(path), remedy="save it again")
    return metadata, tensors


def _rest(model: nn.Module) -> dict[str, Tensor]:
    """Everything of a refocused model's state but bases and what the transformations train, by plain names."""
    return {key: value for key, value in model.state_dict().items() if not _is_ours(model, key)}


def _is_ours(model: nn.Module, key: str) -> bool:
    prefix, stem, _ = key.partition(STEM)
    return bool(stem) and prefix in {f"{name}." if name else "" for name, _, _ in transformed(model, aliases=True)}


def _key(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name
