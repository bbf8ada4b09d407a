"""What a file of weights or an exported file says about itself: names and texts, JSON where a value is no text."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import safetensors

from refconv.digests import check_digest
from refconv.errors import CheckpointError, said_by
from refconv.records import conformed, parsed_json

ADOPTED = "adopted.json"  #: The record of weights that were made into a model folder, in that folder
IMPROVED = "improve.json"  #: The record of an improvement
_RECORDS = ("record.json", IMPROVED)  # beside the model folder of a run, and of an improvement
KEY = "refconv"  #: under which name formats keep all of it that have no names and texts of their own
_SAME = tuple[float, ...] | float  # of each channel, or of all


class InputSettings(TypedDict, total=False):
    """What files say about a model's input under timm's names, as ``pretrained_cfg`` has them, and what ours add."""

    num_classes: int | None
    input_size: tuple[int, ...] | None
    img_size: int | None
    fixed_input_size: bool | None
    pool_size: tuple[int, ...] | None
    mean: _SAME | None
    std: _SAME | None
    interpolation: str | None
    crop_pct: float | None
    crop_mode: str | None
    color_mode: str | None
    first_conv: str | tuple[str, ...] | None
    classifier: str | tuple[str, ...] | None
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]
    sample_rate: int | None
    noise: float
    upscale: int


class _Planned(TypedDict, total=False):
    recipe: dict[str, Any]


class _Recorded(TypedDict, total=False):
    recipe: dict[str, Any] | None
    plan: _Planned


def versions(*more: str) -> dict[str, str]:
    """Return name and version of each program that a result depends on, ``more`` of them where they are installed."""
    names = ("refconv", "torch", "timm", "torchvision", "numpy")
    return {"python": platform.python_version(), **{name: _version(name) for name in (*names, *more)}}


@functools.cache
def _version(name: str) -> str:
    """Return the version of an installed program, which is read from its files once."""
    return metadata.version(name)


def described(
    *,
    task: str,
    architecture: str,
    class_names: Sequence[str] = (),
    preprocessing: Mapping[str, Any] | None = None,
    certificate: str = "",
    programs: Sequence[str] = (),
    **more: Any,
) -> dict[str, str]:
    """Return what a file says about a model; ``certificate`` is a hash (:func:`certificate_hash`)."""
    values = {
        "task": task, "architecture": architecture, "class_names": list(class_names),
        "preprocessing": dict(preprocessing or {}), "versions": versions(*programs), "certificate": certificate, **more,
    }  # fmt: skip
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def certificate_hash(certificate: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a certificate as ``record.json`` holds it, whatever the order of its keys."""
    text = json.dumps(certificate, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def certificate_of(folder: Path) -> str:
    """Return the hash of the certificate of a model folder: as its weights say, else of the record of its run.

    It is empty without one.
    """
    if said := said_by_weights(folder).get("certificate"):
        return said
    for name in _RECORDS:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            certificate = parsed_json((folder.parent / name).read_text(encoding="utf-8")).get("certificate")
            if isinstance(certificate, dict):
                return certificate_hash(certificate)
    return ""


def said_by_weights(folder: Path) -> dict[str, str]:
    """Return what the weights of a model folder say about themselves; nothing where they are no safetensors."""
    try:
        with safetensors.safe_open(folder / "model.safetensors", framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return {}


def recorded_recipe(folder: Path) -> dict[str, Any]:
    """Return the settings in the record of the improvement or of the adopted weights in a folder; empty without one.

    Raises:
        CheckpointError: if it is damaged.
    """
    for name in (ADOPTED, IMPROVED):
        path = folder / name
        if path.is_file():
            try:
                content = conformed(dict[str, Any], parsed_json(path.read_text(encoding="utf-8")))
                found: _Recorded = conformed(_Recorded, check_digest(content, str(path), ours=False))
            except CheckpointError:
                raise
            except (OSError, ValueError) as error:
                what, remedy = "damaged or not a record", "remove the file; data are then named by --data"
                raise CheckpointError(what, where=str(path), found=said_by(error), remedy=remedy) from error
            return found.get("recipe") or found.get("plan", _Planned()).get("recipe", {})
    return {}
