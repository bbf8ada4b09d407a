"""Weights on disk: read a file without running code from it."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from refconv.digests import COPY_AGAIN, DIGEST, check_digest, digest_of, reading_tensors
from refconv.errors import CheckpointError, RefconvWarning, names_beside
from refconv.paths import path_of
from refconv.records import conformed, parsed_json
from refconv.surgery import check_tensors, metadata_of, renamed, with_metadata

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

_OF_RUNS = {"format", "step", "recipe"}  #: Keys of the checkpoint of a run of refconv

_COUNTER, _EXTRA = "n_averaged", "_extra_state"
"""What torch's AveragedModel counts beside its weights; the name of a module's state that is no tensor."""

_DEEPEST = 64  # levels of mappings and lists inside of one another
_NO_WEIGHTS = "not a file of weights"
_WHOLE = "a whole file written by torch.save, or .safetensors"
_SAVE_ALONE = "save the state dict alone: torch.save(model.state_dict(), FILE)"


def read_weights(path: Path | str, *, snapshot: bool = False) -> dict[str, Tensor]:
    """Read names and tensors from a weights file or a folder with one, without running any code in it.

    A training checkpoint is unwrapped, averaged weights first; a choice is said by a warning. What DataParallel,
    AveragedModel, torch.compile and FSDP add to names is removed. Versions of modules (``_metadata``) are kept.
    """
    path = weights_file(path)
    content = read_checkpoint_file(path, snapshot=snapshot)
    found = _weights_in(content, str(path))
    if found is None:
        strange = [str(key) for key, value in content.items() if not _is_entry(key, value)]
        entries = "entries such as " + some(strange) if strange else "nothing"
        expected = "names with tensors, alone or under one of " + ", ".join(_WRAPPING_KEYS)
        raise CheckpointError(_NO_WEIGHTS, where=str(path), expected=expected, found=entries, remedy=_SAVE_ALONE)
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
    """Say whether a file is the checkpoint of a run of refconv, and not weights alone."""
    return path.suffix != ".safetensors" and read_checkpoint_file(path).keys() >= _OF_RUNS


def weights_file(path: Path | str) -> Path:
    """Return the file that holds the weights of a file or folder."""
    path = path_of(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise missing(path, "no such file or folder")
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    expected = "a file " + " or ".join(WEIGHT_FILES)
    what, remedy = "no weights in this folder", "give the file itself"
    raise CheckpointError(what, where=str(path), expected=expected, remedy=remedy)


def missing(path: Path, what: str = "no such file", *, where: str | None = None) -> CheckpointError:
    """Return the error of a path where nothing is; it names files beside it with similar names."""
    return CheckpointError(what, where=where or str(path), remedy=names_beside(path) or "check the path")


def read_checkpoint_file(path: Path, *, snapshot: bool = False) -> dict[str, Any]:
    """Read the mapping that a checkpoint file holds, tensors on the CPU, without running any code.

    ``snapshot`` says that a run of refconv wrote the file to its snapshots.
    """
    remedy = f"{COPY_AGAIN}; a run whose only checkpoint it is has to start anew"
    with reading_tensors(path, "a checkpoint", expected=_WHOLE, remedy=remedy):
        try:
            content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
        except pickle.UnpicklingError as error:
            raise CheckpointError(**_why_refused(error), where=str(path)) from error
    if path.suffix == ".safetensors":
        return cast(dict[str, Any], content)
    _check_plain(content, str(path))
    if not isinstance(content, Mapping):
        told = {"expected": "names with tensors", "found": type(content).__name__, "remedy": _SAVE_ALONE}
        raise CheckpointError(_NO_WEIGHTS, where=str(path), **told)
    if content.keys() >= _OF_RUNS:
        return check_digest(content, str(path), ours=True)
    _check_snapshot(content, str(path), ours=snapshot)
    return content if isinstance(content, dict) else dict(content)


def snapshot_bytes(state: Mapping[str, Any]) -> bytes:
    """Return what a ``.pth`` file of weights holds: a state dict as torch loads it, whose metadata have a digest."""
    metadata = {name: entry for name, entry in metadata_of(state).items() if name != DIGEST}
    signed = with_metadata(state, {**metadata, DIGEST: {DIGEST: digest_of({"content": [dict(state), metadata]})}})
    buffer = io.BytesIO()
    torch.save(signed, buffer)
    return buffer.getvalue()


def _check_snapshot(state: Mapping[str, Any], where: str, *, ours: bool) -> None:
    """Check weights against the digest that :func:`snapshot_bytes` wrote; other programs write none."""
    metadata = metadata_of(state)
    found = metadata.pop(DIGEST, {})
    if DIGEST in found or ours:
        content = {"content": [dict(state), metadata]}
        signed = {**content, DIGEST: found[DIGEST]} if DIGEST in found else content
        check_digest(signed, where, ours=ours)


def _check_plain(content: Any, where: str) -> None:
    """Refuse what holds tensors without values, sparse or quantised ones, or is nested too deeply."""
    level, depth = [content], 0
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, Tensor) and (value.is_meta or value.layout != torch.strided or value.is_quantized):
                kind = "quantized" if value.is_quantized else "meta" if value.is_meta else str(value.layout)
                raise CheckpointError(_NO_WEIGHTS, where=where, expected="dense tensors with values", found=kind)
            inner += value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        level, depth = inner, depth + 1
        if depth > _DEEPEST:
            raise CheckpointError(_NO_WEIGHTS, where=where, found="nested too deeply", remedy=_SAVE_ALONE)


def _read_pickled(path: Path) -> Any:
    """Read what ``torch.save`` wrote: archives that are not compressed, so that no member is larger than the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            becomes, size = sum(member.file_size for member in archive.infolist()), path.stat().st_size
            program = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if becomes > size:
            what, expected = "becomes too large when it is unpacked", f"at most {size:,} bytes, as many as the file has"
            raise CheckpointError(what, where=str(path), expected=expected, found=f"{becomes:,}", remedy=COPY_AGAIN)
        if program:
            remedy = "save its state dict alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
            raise CheckpointError("a program of TorchScript, no file of weights", where=str(path), remedy=remedy)
    # Checkpoints of many training programs hold their arguments as a Namespace, which is harmless.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # said better by the error
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Read the tensors of a safetensors file, and the versions of modules where this package wrote them."""
    if "\\udc" in ascii(str(path)):  # a name that is not UTF-8, which safetensors does not open
        content = path.read_bytes()
        tensors = safetensors.torch.load(content)
        metadata = parsed_json(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    else:
        tensors = safetensors.torch.load_file(path)
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    check_tensors(tensors, metadata, str(path))
    versions = conformed(dict[str, int], parsed_json(metadata.get(VERSIONS, "{}")))
    return with_metadata(tensors, {name: {"version": version} for name, version in versions.items()})


def _without_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what wrappers add to the names: of compiled and checkpointed modules, DataParallel, AveragedModel."""
    state = renamed(state, lambda name: _WRAPPERS.sub("", name).removeprefix("."))
    while all(name.startswith("module.") for name in state if name != _COUNTER) and set(state) - {_COUNTER}:
        kept = with_metadata({name: state[name] for name in state if name != _COUNTER}, metadata_of(state))
        state = renamed(kept, lambda name: name.removeprefix("module."))
    return dict(state) if not metadata_of(state) else state


def _why_refused(error: pickle.UnpicklingError) -> dict[str, str]:
    """Tell a pickle that asks for code from one that torch cannot follow at all."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked is None:
        return {"what": "damaged, or a pickle of more than tensors", "expected": _WHOLE, "remedy": COPY_AGAIN}
    return {
        "what": "refused, because reading it would run code",
        "expected": "tensors only",
        "found": f"a request for {asked[1]}",
        "remedy": "if you trust its source, save its state dict alone: "
        "torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)",
    }


def some(names: Iterable[str], most: int = 3) -> str:
    """Return the first of the names, for messages."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
