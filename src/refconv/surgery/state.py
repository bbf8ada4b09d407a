"""Refocused state in files: our own names, so that no file depends on how torch names parametrizations.

A refocused layer ``X`` appears as ``X.base`` and ``X.refocus_weight``; everything else keeps its plain name. Files of
safetensors with equal content have equal bytes.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from refconv.errors import CheckpointError
from refconv.layers import dotted
from refconv.surgery.refocusing import STEM, transformed

_LENGTH = 8  # bytes of the number that says how long a file's header is, and what the header is padded to
_METADATA = "__metadata__"


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


def plain_metadata(metadata: Mapping[str, Any], layers: Collection[str]) -> dict[str, Any]:
    """Return the metadata of a refocused state dict without what transformations at these (dotted) layers brought."""
    hidden = tuple(prefix + STEM for prefix in layers)
    kept = {name: entry for name, entry in metadata.items() if not f"{name}.".startswith(hidden)}
    for prefix in layers:  # the container of parametrizations goes with the last of them
        if not any(name.startswith(f"{prefix}parametrizations.") for name in kept):
            kept.pop(f"{prefix}parametrizations", None)
    return kept


def renamed(state: Mapping[str, Any], rename: Callable[[str], str]) -> OrderedDict[str, Any]:
    """Return a state dict under other names; ``rename`` is given those of tensors, and of modules with a dot."""
    metadata = {rename(f"{name}.").rstrip("."): entry for name, entry in metadata_of(state).items()}
    return with_metadata({rename(name): value for name, value in state.items()}, metadata)


def check_keys(expected: Iterable[str], found: Iterable[str], *, where: str, remedy: str | None = None) -> None:
    """Refuse keys that are not those expected, listing the missing and the surplus ones."""
    before, after = dict.fromkeys(expected), dict.fromkeys(found)
    missing, surplus = [key for key in before if key not in after], [key for key in after if key not in before]
    if missing or surplus:
        differing = [(word, keys) for word, keys in (("missing", missing), ("surplus", surplus)) if keys]
        lists = [", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "") for _, keys in differing]
        what = "; ".join(f"{len(keys)} {word}: {shown}" for (word, keys), shown in zip(differing, lists, strict=True))
        raise CheckpointError(what, where=where, remedy=remedy)


def check_shape(name: str, own: Tensor | None, found: Tensor, *, where: str) -> None:
    """Refuse a tensor in a file that has another shape than here."""
    if own is None or own.shape != found.shape:
        expected = str(None if own is None else list(own.shape))
        raise CheckpointError(f"{name} has another shape", where=where, expected=expected, found=str(list(found.shape)))


def _file_names(model: nn.Module) -> dict[str, str]:
    """Map torch's names of the refocused tensors to ours."""
    names: dict[str, str] = {}
    for name, _, transform in transformed(model, aliases=True):
        names[f"{dotted(name)}{STEM}original"] = f"{dotted(name)}base"
        names |= {f"{dotted(name)}{STEM}0.{key}": dotted(name) + key for key in transform.state_dict()}
    return names


def file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, of contiguous tensors on the CPU.

    safetensors itself writes the entries of the metadata in another order each time; here they are sorted.
    """
    content: bytes = safetensors.torch.save(dict(tensors), dict(metadata))
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    header[_METADATA] = dict(sorted(header[_METADATA].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + content[end:]
