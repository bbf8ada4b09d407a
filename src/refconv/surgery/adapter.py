"""Adapter files: what refocusing learned, apart from the pretrained model it belongs to.

A safetensors file with a refocus weight per site and, unless asked otherwise, every other tensor of the
model, so that loading it onto the pretrained model gives the trained one. Its metadata hold the format version, the
settings of every site and a fingerprint of every base: an adapter never loads onto kernels it was not trained for.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from refconv.errors import CheckpointError, ModelError
from refconv.parametrizations import ForwardScope, Refocus
from refconv.sites import Site, check_base, check_shared, find_sites
from refconv.surgery.attach import STEM, attach, base_of, transformed
from refconv.surgery.guard import check_unsharded, check_unwrapped
from refconv.surgery.state import check_keys

FORMAT = "refconv-adapter"
VERSION = 1
_WEIGHT = "refocus_weight"


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
            which usually was trained along; without it the file holds the refocus weights alone.

    Raises:
        ModelError: if nothing in the model is refocused.
    """
    check_unwrapped(model, "save an adapter of")
    found = list(transformed(model))
    if not found:
        raise ModelError("no adapter to save", where=type(model).__name__, expected="a refocused model")
    tensors, sites = {}, {}
    for name, module, transform in found:
        assert isinstance(transform, Refocus)
        tensors[_key(name)] = transform.refocus_weight.detach().cpu().contiguous().clone()
        sites[name] = {**transform.settings(), "base": fingerprint(base_of(module))}
    if rest:
        tensors.update((key, value.detach().cpu().contiguous().clone()) for key, value in _rest(model).items())
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "rest": json.dumps(rest),
        "sites": json.dumps(sites),
    }
    save_file(tensors, str(path), metadata=metadata)


def load_adapter(model: nn.Module, path: Path | str) -> None:
    """Refocus a pretrained model as an adapter file says and load what it learned, in place, all or nothing.

    Args:
        model: the plain pretrained model that the adapter was trained from.
        path: a file that :func:`save_adapter` wrote.

    Raises:
        CheckpointError: if the file cannot be read, is of another format or version, names sites that the model does
            not have, was trained from other kernels, or misses or adds keys. The model is untouched then.
    """
    check_unwrapped(model, "load an adapter into")
    metadata, tensors = _read(Path(path))
    settings: dict[str, dict[str, Any]] = json.loads(metadata["sites"])
    sites = {site.name: site for site in find_sites(model)}
    absent = [name for name in settings if name not in sites]
    if absent:
        raise CheckpointError(
            f"the model has no convolution {', '.join(absent[:8])}",
            where=str(path),
            remedy="load the architecture it was trained on",
        )
    chosen = [sites[name] for name in settings]
    _check_bases(chosen, settings, str(path))
    check_shared(chosen)
    rest = [key for key in model.state_dict() if key not in {_weight_of(site.name) for site in chosen}]
    expected = [*map(_key, settings), *(rest if json.loads(metadata["rest"]) else ())]
    check_keys(expected, list(tensors), where=str(path), remedy="the file does not belong to this model")
    transforms = _transforms(chosen, settings, tensors, str(path))
    own = model.state_dict()
    for key in rest if json.loads(metadata["rest"]) else ():
        _check_shape(key, own[key], tensors[key], str(path))
    for module_sites, transform in transforms:
        attach([site.module for site in module_sites], transform)
    transforms[0][1].scope.attach(model)
    if json.loads(metadata["rest"]):
        with torch.no_grad():
            current = model.state_dict()
            for key in rest:
                current[key].copy_(tensors[key])


def _transforms(
    chosen: list[Site], settings: dict[str, dict[str, Any]], tensors: dict[str, Tensor], where: str
) -> list[tuple[list[Site], Refocus]]:
    scope = ForwardScope()
    by_weight: dict[int, tuple[list[Site], Refocus]] = {}
    for site in chosen:
        assert site.weight is not None
        if id(site.weight) in by_weight:
            by_weight[id(site.weight)][0].append(site)
            continue
        own = settings[site.name]
        transform = Refocus(
            site.label,
            site.weight,
            site.layout(own["order"]),
            scope,
            map_size=own["map_size"],
            normalize=own["normalize"],
            power=own["power"],
        )
        learned = tensors[_key(site.name)]
        _check_shape(_key(site.name), transform.refocus_weight, learned, where)
        with torch.no_grad():
            transform.refocus_weight.copy_(learned)
        by_weight[id(site.weight)] = [site], transform
    return list(by_weight.values())


def _check_bases(chosen: list[Site], settings: dict[str, dict[str, Any]], where: str) -> None:
    foreign = []
    for site in chosen:
        if site.obstacle:
            raise CheckpointError(
                f"{site.label} is {site.obstacle}", where=where, remedy="load onto the plain pretrained model"
            )
        check_base(site)
        check_unsharded(site)
        assert site.weight is not None
        if fingerprint(site.weight) != settings[site.name]["base"]:
            foreign.append(site.label)
    if foreign:
        shown = ", ".join(foreign[:8]) + (", ..." if len(foreign) > 8 else "")
        raise CheckpointError(
            f"the base differs at {len(foreign)} of {len(chosen)} sites: {shown}",
            where=where,
            expected="the pretrained kernels that the adapter was trained from",
            remedy="load those weights first",
        )


def _check_shape(key: str, own: Tensor, found: Tensor, where: str) -> None:
    if own.shape != found.shape:
        raise CheckpointError(
            f"{key} has another shape",
            where=where,
            expected=str(list(own.shape)),
            found=str(list(found.shape)),
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
            "not an adapter file",
            where=str(path),
            expected=f"format {FORMAT}",
            found=str(metadata.get("format")),
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
    """Everything of a refocused model's state but bases and refocus weights, by plain names."""
    return {key: value for key, value in model.state_dict().items() if not _is_ours(model, key)}


def _is_ours(model: nn.Module, key: str) -> bool:
    prefix, stem, _ = key.partition(STEM)
    return bool(stem) and prefix in {f"{name}." if name else "" for name, _, _ in transformed(model, aliases=True)}


def _key(site: str) -> str:
    return f"{site}.{_WEIGHT}" if site else _WEIGHT


def _weight_of(site: str) -> str:
    return f"{site}.weight" if site else "weight"
