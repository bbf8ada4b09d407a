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
from refconv.layers import Layer, check_base, check_shared, dotted, find_layers
from refconv.parametrizations import ForwardScope, KernelTransform, config_of, transform_named
from refconv.records import with_scale
from refconv.surgery.guard import check_names, check_unsharded, check_unwrapped
from refconv.surgery.refocusing import STEM, attach_all, base_of, transform_at, transformed, transforms_at
from refconv.surgery.state import check_keys, check_shape, file_bytes

FORMAT = "refconv-adapter"
VERSION = 1
_TRANSFORM, _BASE = "transform", "base"


def fingerprint(tensor: Tensor) -> str:
    """Return a hash of a tensor's dtype, shape and exact values, whatever its device and memory format."""
    flat = tensor.detach().cpu().contiguous()
    content = ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size())
    return hashlib.sha256(f"{flat.dtype}{tuple(flat.shape)}".encode() + content).hexdigest()[:32]


def save_adapter(model: nn.Module, path: Path | str, *, rest: bool = True) -> None:
    """Save a refocused model's adapter in a safetensors file.

    Args:
        model: a refocused model.
        path: the file to write.
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
    tensors: dict[str, Tensor] = {}
    layers = {}
    for name, module, transform in found:
        tensors |= {dotted(name) + key: value for key, value in transform.named_parameters()}
        base = fingerprint(base_of(module))
        layers[name] = {_TRANSFORM: transform.config.method, **transform.settings(), _BASE: base}
    if rest:
        ours = tuple(dotted(name) + STEM for name, _, _ in transformed(model, aliases=True))
        tensors |= {key: value for key, value in model.state_dict().items() if not key.startswith(ours)}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
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
    where = str(path)
    metadata, tensors = _read(Path(path))
    settings: dict[str, dict[str, Any]] = json.loads(metadata["sites"])
    layers = {layer.name: layer for layer in find_layers(model)}
    absent = ", ".join([name for name in settings if name not in layers][:8])
    if absent:
        remedy = "load the architecture it was trained on"
        raise CheckpointError(f"the model has no convolution {absent}", where=where, remedy=remedy)
    chosen = [layers[name] for name in settings]
    _check_bases(chosen, settings, where)
    check_shared(chosen)
    transforms = transforms_at(chosen, lambda layer, scope: _transform(layer, settings[layer.name], scope, where))
    trained = {  # of layers that share a kernel, the first one's counts
        dotted(layer.name) + key: parameter
        for sharers, transform in transforms
        for layer in reversed(sharers)
        for key, parameter in transform.named_parameters()
    }
    own = model.state_dict()
    kernels = {f"{dotted(layer.name)}weight" for layer in chosen}
    rest = [key for key in own if key not in kernels] if json.loads(metadata["rest"]) else []
    check_keys([*sorted(trained), *rest], tensors, where=where, remedy="the file does not belong to this model")
    for key, tensor in [*((key, own[key]) for key in rest), *trained.items()]:
        check_shape(key, tensor, tensors[key], where=where)
    with torch.no_grad():
        for key, parameter in trained.items():
            parameter.copy_(tensors[key])
    attach_all(model, transforms)
    with torch.no_grad():
        current = model.state_dict()
        for key in rest:
            current[key].copy_(tensors[key])


def _transform(layer: Layer, saved: dict[str, Any], scope: ForwardScope, where: str) -> KernelTransform:
    own = {key: value for key, value in saved.items() if key not in {_TRANSFORM, _BASE}}
    name = saved.get(_TRANSFORM, "refocus")  # files of before there were others do not say
    try:
        own = with_scale(own) if issubclass(transform_named(name).config_class, GramConfig) else own
        return transform_at(layer, config_of(name, own), scope)
    except SettingError as error:
        where = f"{layer.label} in {where}"
        raise CheckpointError("holds settings of another version", where=where, found=str(error)) from error


def _check_bases(chosen: list[Layer], settings: dict[str, dict[str, Any]], where: str) -> None:
    foreign = []
    for layer in chosen:
        if layer.obstacle:
            remedy = "load onto the plain pretrained model"
            raise CheckpointError(f"{layer.label} is {layer.obstacle}", where=where, remedy=remedy)
        check_base(layer)
        check_unsharded(layer)
        assert layer.weight is not None
        if fingerprint(layer.weight) != settings[layer.name][_BASE]:
            foreign.append(layer.label)
    if foreign:
        shown = ", ".join(foreign[:8]) + (", ..." if len(foreign) > 8 else "")
        what = f"the base differs at {len(foreign)} of {len(chosen)} layers: {shown}"
        expected = "the pretrained kernels that the adapter was trained from"
        raise CheckpointError(what, where=where, expected=expected, remedy="load those weights first")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    where = str(path)
    if not path.is_file():
        raise CheckpointError("no such file", where=where)
    try:
        with safe_open(where, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dictionary
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"not readable as safetensors ({error})", where=where) from error
    written, version = str(metadata.get("format")), str(metadata.get("version"))
    if written != FORMAT:
        raise CheckpointError("not an adapter file", where=where, expected=f"format {FORMAT}", found=written)
    if version != str(VERSION):
        what, remedy = "written in another format version", "use the refconv version that wrote it"
        raise CheckpointError(what, where=where, expected=str(VERSION), found=version, remedy=remedy)
    damaged = " and ".join(key for key in ("sites", "rest") if key not in metadata)
    if damaged:
        raise CheckpointError(f"lacks {damaged} in its metadata", where=where, remedy="save it again")
    return metadata, tensors
