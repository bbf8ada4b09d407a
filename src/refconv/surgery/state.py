"""Refocused state in files: under names of our own, and as adapters apart from the pretrained model they belong to.

A layer ``X`` appears as ``X.base`` and ``X.refocus_weight``, so no file depends on how torch names parametrizations.
Files of safetensors with equal content have equal bytes. The metadata of an adapter hold the format version, the
settings of every layer and a fingerprint of every base: it never loads onto kernels it was not trained for. Where zeros
are kept, the file holds the mask too, which makes the base out of the pretrained kernel if that is dense.
"""

from __future__ import annotations

import copy
import ctypes
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from refconv.config import GramConfig
from refconv.digests import COPY_AGAIN, DIGEST, check_digest, digest_of, reading_tensors
from refconv.errors import CheckpointError, ModelError, SettingError, names_beside
from refconv.layers import Layer, check_base, check_shared, dotted, find_layers, masked
from refconv.parametrizations import ForwardScope, KernelTransform, config_of, transform_named
from refconv.paths import path_of
from refconv.records import conformed, parsed_json, replace_file, with_scale
from refconv.surgery.places import Names, places
from refconv.surgery.refocusing import applied, attach_all, check_plain, check_unsharded, transform_at, transforms_at

_LENGTH = 8  # bytes of the number that says how long a file's header is, and what the header is padded to
_METADATA = "__metadata__"
FORMAT = "refconv-adapter"
VERSION = 1
_OURS = "a file that save_adapter wrote"
_TRANSFORM, _BASE = "transform", "base"
_MASK = "base_mask"  # which entries of a base are not zero, where zeros are kept


def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of the merged model without merging: plain names in plain order, every tensor a copy.

    For a model that is not refocused this is its own state dict, copied. The versions that modules write into a state
    dict (its ``_metadata``) are kept.
    """
    state = model.state_dict()
    found = {dotted(place.name): place for place in places(model, aliases=True)}
    kernels = {prefix: place.kernel() for prefix, place in found.items()}
    plain: OrderedDict[str, Tensor] = OrderedDict()

    def bring(prefix: str) -> None:
        """Bring the parameters of a layer, in their order, before all else of its module."""
        place = found[prefix]
        for name in place.order if place.alone else ():
            if (own := prefix + name) not in plain and (own in state or own == place.names.key):
                plain[own] = kernels[prefix] if own == place.names.key else state[own].detach().clone()

    for key, value in state.items():
        parts = key.split(".")
        above = [".".join((*parts[:count], "")) for count in range(len(parts))]
        held = [prefix for prefix in above if prefix in found]
        for prefix in held:
            bring(prefix)
        own = next((prefix for prefix in held if key.startswith(found[prefix].names.stem)), None)
        name = key if own is None else found[own].names.plain(key)
        if own is not None and key == found[own].names.base:
            plain.setdefault(found[own].names.key, kernels[own])
        elif name is not None and name not in plain:
            plain[name] = value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
    return with_metadata(plain, plain_metadata(metadata_of(state), [place.names for place in found.values()]))


def refocused_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state under the names used in files, of a plain model its state dict; nothing is copied."""
    names, state = _file_names(model), model.state_dict()
    return with_metadata({names.get(key, key): value for key, value in state.items()}, metadata_of(state))


def load_refocused_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`refocused_state_dict` returned into a model that is refocused at the same layers, strictly.

    Raises:
        CheckpointError: if keys are missing or surplus, or shapes differ; the message lists them and nothing is loaded.
    """
    back, own = _file_names(model), model.state_dict()
    names = {ours: theirs for theirs, ours in back.items()}
    # A file of before versions were kept was written by the same code: its versions are the model's own.
    versions = metadata_of(state) or metadata_of(own)
    translated = with_metadata({names.get(key, key): value for key, value in state.items()}, versions)
    check_keys([back.get(key, key) for key in own], list(state), where=f"state for {type(model).__name__}")
    for key, value in translated.items():
        if isinstance(value, Tensor) and isinstance(own[key], Tensor):
            check_shape("a tensor", own[key], value, where=back.get(key, key))
    model.load_state_dict(translated)


def metadata_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what modules wrote about themselves into a state dict, such as versions; nothing if it says nothing."""
    return dict(getattr(state, "_metadata", None) or {})


def with_metadata(state: Mapping[str, Any], metadata: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return a state dict that carries these metadata, as torch's own do."""
    carrying = OrderedDict(state)
    if metadata:
        carrying._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]  # torch's own way
    return carrying


def plain_metadata(metadata: Mapping[str, Any], found: Iterable[Names]) -> dict[str, Any]:
    """Return the metadata of a refocused state dict without what transformations of these names brought."""
    kept = dict(metadata)
    for names in found:
        stem = names.stem.removesuffix(".")
        own = {name: names.plain(name) for name in kept if name.startswith(names.stem)}
        if names.base != names.key:  # nothing else is registered there
            own = dict.fromkeys([*own, *([stem] if stem in kept else [])])
        entries = {name: kept.pop(name) for name in own}
        kept |= {plain: entries[name] for name, plain in own.items() if plain is not None}
        lists = stem.rpartition(".")[0]  # the container of parametrizations goes with the last of them
        if not any(name.startswith(f"{lists}.") for name in kept):
            kept.pop(lists, None)
    return kept


def renamed(state: Mapping[str, Any], rename: Callable[[str], str]) -> OrderedDict[str, Any]:
    """Return a state dict under other names; ``rename`` is given those of tensors, and of modules with a dot."""
    metadata = {rename(f"{name}.").rstrip("."): entry for name, entry in metadata_of(state).items()}
    return with_metadata({rename(name): value for name, value in state.items()}, metadata)


def check_keys(expected: Iterable[str], found: Iterable[str], *, where: str, remedy: str | None = None) -> None:
    """Refuse keys that are not those expected, listing the missing and the surplus ones."""
    before, after = dict.fromkeys(expected), dict.fromkeys(found)
    missing, surplus = [key for key in before if key not in after], [key for key in after if key not in before]
    both = {"missing": missing, "surplus": surplus}
    if what := "; ".join(f"{len(keys)} {word}: {listed(keys)}" for word, keys in both.items() if keys):
        raise CheckpointError(what, where=where, remedy=remedy)


def listed(names: Sequence[str]) -> str:
    """Return the first eight names, for messages."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def check_shape(name: str, own: Tensor | None, found: Tensor, *, where: str) -> None:
    """Refuse a tensor in a file that has another shape than here."""
    if own is None or own.shape != found.shape:
        expected = str(None if own is None else list(own.shape))
        raise CheckpointError(f"{name} has another shape", where=where, expected=expected, found=str(list(found.shape)))


def _file_names(model: nn.Module) -> dict[str, str]:
    """Map torch's names of the refocused tensors to ours."""
    names: dict[str, str] = {}
    for place in places(model, aliases=True):
        names[place.names.base] = f"{dotted(place.name)}base"
        names |= {place.names.own + key: dotted(place.name) + key for key in place.transform.state_dict()}
    return names


def file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, of contiguous tensors on the CPU: metadata sorted, and a digest."""
    said = {name: text for name, text in metadata.items() if name != DIGEST}
    said |= {DIGEST: digest_of(_content(tensors, said))}
    content: bytes = safetensors.torch.save(dict(tensors), said)
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    header[_METADATA] = dict(sorted(header[_METADATA].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + content[end:]


def _content(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the digest of a safetensors file is of, whatever its order."""
    return {"metadata": dict(sorted(metadata.items())), "tensors": dict(sorted(tensors.items()))}


def check_tensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str, *, ours: bool = False
) -> None:
    """Check what a safetensors file holds against its digest; ``ours`` as in :func:`refconv.digests.check_digest`."""
    own = {name: text for name, text in metadata.items() if name != DIGEST}
    found = {DIGEST: metadata[DIGEST]} if DIGEST in metadata else {}
    check_digest({**_content(tensors, own), **found}, where, ours=ours)


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
        CheckpointError: if the file cannot be written.
    """
    check_plain(model, "save an adapter of")
    found = list(places(model))
    if not found:
        raise ModelError("no adapter to save", where=type(model).__name__, expected="a refocused model")
    tensors: dict[str, Tensor] = {}
    layers = {}
    for place in found:
        transform = place.transform
        tensors |= {dotted(place.name) + key: value for key, value in transform.named_parameters()}
        base = fingerprint(place.base)
        if transform.config.zeros == "keep":
            tensors[dotted(place.name) + _MASK] = place.base != 0
        layers[place.name] = {_TRANSFORM: transform.config.method, **transform.settings(), _BASE: base}
    if rest:
        named = [place.names for place in places(model, aliases=True)]
        kernels = {names.key for names in named}
        own = {plain_name(key, named): value for key, value in model.state_dict().items()}
        tensors |= {key: value for key, value in own.items() if key is not None and key not in kernels}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "rest": json.dumps(rest), "sites": json.dumps(layers)}
    try:
        replace_file(path_of(path), file_bytes(tensors, metadata))  # save_file gives rights to the owner alone
    except OSError as error:
        remedy = None if path_of(path).parent.is_dir() else f"make the folder {path_of(path).parent} first"
        raise CheckpointError(f"cannot be written ({error.strerror})", where=str(path), remedy=remedy) from error


def load_adapter(model: nn.Module, path: Path | str) -> None:
    """Refocus a pretrained model as an adapter file says and load what it learned, in place, all or nothing.

    Args:
        model: the plain pretrained model that the adapter was trained from.
        path: a file that :func:`save_adapter` wrote.

    Raises:
        CheckpointError: if the file cannot be read, is of another format or version, names layers that the model does
            not have, was trained from other kernels, or misses or adds keys. The model is untouched then.
    """
    check_plain(model, "load an adapter into")
    where = str(path)
    metadata, tensors = _read(path_of(path))
    settings, with_rest = _said(metadata, where)
    layers = {layer.name: layer for layer in find_layers(model)}
    absent = ", ".join([name for name in settings if name not in layers][:8])
    if absent:
        remedy = "load the architecture it was trained on"
        raise CheckpointError(f"the model has no convolution {absent}", where=where, remedy=remedy)
    chosen = [layers[name] for name in settings]
    masks = {layer: tensors.pop(name) for layer in chosen if (name := dotted(layer.name) + _MASK) in tensors}
    pairs = _bases_to_mask(chosen, settings, masks, where)
    check_shared(chosen)
    with applied(pairs):
        _load(model, chosen, settings, tensors, pairs, with_rest, where)


def _said(metadata: Mapping[str, str], where: str) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the settings of every layer, and whether everything else of the model is in the file too."""
    try:
        settings = conformed(dict[str, dict[str, Any]], parsed_json(metadata["sites"]))
        for name, said in settings.items():
            for key in {_BASE, _TRANSFORM} & said.keys():
                if not isinstance(said.get(key), str):
                    raise ValueError(f"{name}.{key}: expected a text, found {said.get(key)!r:.40}")
        rest: bool = conformed(bool, parsed_json(metadata["rest"]))
    except ValueError as error:
        raise CheckpointError("damaged", where=where, found=str(error), remedy=COPY_AGAIN) from error
    return settings, rest


def _load(
    model: nn.Module,
    chosen: list[Layer],
    settings: dict[str, dict[str, Any]],
    tensors: dict[str, Tensor],
    pairs: list[tuple[Layer, Tensor]],
    with_rest: bool,
    where: str,
) -> None:
    """Refocus layers that hold their bases and load what an adapter learned, all or nothing."""
    transforms = transforms_at(chosen, lambda layer, scope: _transform(layer, settings[layer.name], scope, where))
    trained = {  # of layers that share a kernel, the first one's counts
        dotted(layer.name) + key: parameter
        for sharers, transform in transforms
        for layer in reversed(sharers)
        for key, parameter in transform.named_parameters()
    }
    own = model.state_dict()
    kernels = {layer.key for layer in chosen}
    rest = [key for key in own if key not in kernels] if with_rest else []
    check_keys([*sorted(trained), *rest], tensors, where=where, remedy="the file does not belong to this model")
    for key, tensor in [*((key, own[key]) for key in rest), *trained.items()]:
        check_shape(key, tensor, tensors[key], where=where)
    with torch.no_grad():
        for key, parameter in trained.items():
            parameter.copy_(tensors[key])
    attach_all(model, transforms, pairs)
    with torch.no_grad():
        for key in rest:  # state dicts alias the tensors of their model
            own[key].copy_(tensors[key])


def plain_name(key: str, named: Iterable[Names]) -> str | None:
    """Return the name that a tensor of a refocused model has in the plain one; None if it has none."""
    return next((names.plain(key) for names in named if key.startswith(names.stem)), key)


def _transform(layer: Layer, saved: dict[str, Any], scope: ForwardScope, where: str) -> KernelTransform:
    own = {key: value for key, value in saved.items() if key not in {_TRANSFORM, _BASE}}
    name = saved.get(_TRANSFORM, "refocus")  # files of before there were others do not say
    try:
        own = with_scale(own) if issubclass(transform_named(name).config_class, GramConfig) else own
        return transform_at(layer, config_of(name, own), scope)
    except SettingError as error:
        where = f"{layer.label} in {where}"
        raise CheckpointError("holds settings of another version", where=where, found=str(error)) from error


def _bases_to_mask(
    chosen: list[Layer], settings: dict[str, dict[str, Any]], masks: dict[Layer, Tensor], where: str
) -> list[tuple[Layer, Tensor]]:
    """Return the layers whose kernels become the bases of an adapter under its masks; the others' are the bases."""
    foreign, pairs = [], []
    for layer in chosen:
        if layer.obstacle:
            remedy = "load onto the plain pretrained model"
            raise CheckpointError(f"{layer.label} is {layer.obstacle}", where=where, remedy=remedy)
        check_base(layer.weight, layer.name, layer.label)
        check_unsharded(layer)
        assert layer.weight is not None
        base, weight, mask = settings[layer.name].get(_BASE), layer.weight, masks.get(layer)
        if fingerprint(weight) == base:
            continue
        if mask is not None:
            check_shape(f"the mask of {layer.label}", weight, mask, where=where)
            pairs.append((layer, mask.to(weight.device)))
        if mask is None or fingerprint(masked(weight, pairs[-1][1])) != base:
            foreign.append(layer.label)
    if foreign:
        what = f"the base differs at {len(foreign)} of {len(chosen)} layers: {listed(foreign)}"
        expected = "the pretrained kernels that the adapter was trained from"
        raise CheckpointError(what, where=where, expected=expected, remedy="load those weights first")
    return pairs


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    where = str(path)
    if not path.is_file():
        what, remedy = ("a folder", None) if path.is_dir() else ("no such file", names_beside(path))
        raise CheckpointError(what, where=where, expected=_OURS, remedy=remedy)
    with reading_tensors(path, "an adapter", expected=_OURS), safe_open(where, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dictionary
    written, version = str(metadata.get("format")), str(metadata.get("version"))
    if written != FORMAT:
        raise CheckpointError("not an adapter file", where=where, expected=f"format {FORMAT}", found=written)
    if version != str(VERSION):
        what, remedy = "written in another format version", "use the refconv version that wrote it"
        raise CheckpointError(what, where=where, expected=str(VERSION), found=version, remedy=remedy)
    check_tensors(tensors, metadata, where, ours=True)
    damaged = " and ".join(key for key in ("sites", "rest") if key not in metadata)
    if damaged:
        raise CheckpointError(f"lacks {damaged} in its metadata", where=where, remedy="save it again")
    return metadata, tensors
