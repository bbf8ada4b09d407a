"""Refocused state in files: our own names, so that no file depends on how torch names parametrizations.

A refocused layer ``X`` appears as ``X.base`` and ``X.refocus_weight``; everything else keeps its plain name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from refconv.errors import CheckpointError
from refconv.surgery.attach import STEM, transformed


def refocused_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state under the names used in files; the tensors are the model's own, not copies.

    Args:
        model: a refocused or plain model; for a plain one this is its state dict.
    """
    names, state = _file_names(model), model.state_dict()
    return with_metadata({names.get(key, key): value for key, value in state.items()}, metadata_of(state))


def load_refocused_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`refocused_state_dict` returned into a model that is refocused at the same layers, strictly.

    Raises:
        CheckpointError: if keys are missing or surplus, or shapes differ; the message lists them and nothing is loaded.
    """
    names = {ours: theirs for theirs, ours in _file_names(model).items()}
    own = model.state_dict()
    # A file of before versions were kept was written by the same code: its versions are the model's own.
    versions = metadata_of(state) or metadata_of(own)
    translated = with_metadata({names.get(key, key): value for key, value in state.items()}, versions)
    back = {theirs: ours for ours, theirs in names.items()}
    check_keys([back.get(key, key) for key in own], list(state), where=f"state for {type(model).__name__}")
    for key, value in translated.items():
        if isinstance(value, Tensor) and isinstance(own[key], Tensor) and value.shape != own[key].shape:
            raise CheckpointError(
                "a tensor has another shape",
                where=back.get(key, key),
                expected=str(list(own[key].shape)),
                found=str(list(value.shape)),
            )
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


def plain_metadata(metadata: Mapping[str, Any], layers: Iterable[str]) -> dict[str, Any]:
    """Return the metadata of a refocused state dict without what its transformations brought.

    Args:
        metadata: by names of modules.
        layers: the transformed modules, each with a dot after its name; empty for the model itself.
    """
    layers = list(layers)
    hidden = tuple(prefix + STEM for prefix in layers)
    kept = {name: entry for name, entry in metadata.items() if not f"{name}.".startswith(hidden)}
    for prefix in layers:  # the container of parametrizations goes with the last of them
        if not any(name.startswith(f"{prefix}parametrizations.") for name in kept):
            kept.pop(f"{prefix}parametrizations", None)
    return kept


def renamed(state: Mapping[str, Any], rename: Callable[[str], str]) -> OrderedDict[str, Any]:
    """Return a state dict under other names; what its metadata say of modules follows.

    Args:
        state: the state.
        rename: gives the new name of a tensor, or of a module followed by a dot.
    """
    metadata = {rename(f"{name}.").rstrip("."): entry for name, entry in metadata_of(state).items()}
    return with_metadata({rename(name): value for name, value in state.items()}, metadata)


def check_keys(expected: Iterable[str], found: Sequence[str], *, where: str, remedy: str | None = None) -> None:
    """Compare two sets of keys.

    Raises:
        CheckpointError: if they differ; the message lists the missing and the surplus ones.
    """
    expected = list(expected)
    missing = [key for key in expected if key not in set(found)]
    surplus = [key for key in found if key not in set(expected)]
    if missing or surplus:
        raise CheckpointError(
            "; ".join(
                f"{len(keys)} {word}: {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
                for word, keys in (("missing", missing), ("surplus", surplus))
                if keys
            ),
            where=where,
            remedy=remedy,
        )


def _file_names(model: nn.Module) -> dict[str, str]:
    """Map torch's names of the refocused tensors to ours."""
    names: dict[str, str] = {}
    for name, _, transform in transformed(model, aliases=True):
        prefix = f"{name}." if name else ""
        names[f"{prefix}{STEM}original"] = f"{prefix}base"
        for key in transform.state_dict():
            names[f"{prefix}{STEM}0.{key}"] = prefix + key
    return names
