"""What a file of weights or an exported file says about itself: names and texts, JSON where a value is no text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

_RECORDS = ("record.json", "improve.json")  # of a run, and of an improvement
KEY = "refconv"  #: under which name formats keep all of it that have no names and texts of their own


def versions(*more: str) -> dict[str, str]:
    """Return name and version of each program that a result depends on, ``more`` of them where they are installed."""
    names = ("refconv", "torch", "timm", "torchvision", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in (*names, *more)}}


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
    """Return the hash of the certificate in the record of the run that a model folder is of; empty without one."""
    for name in _RECORDS:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            certificate = json.loads((folder.parent / name).read_text(encoding="utf-8")).get("certificate")
            if isinstance(certificate, dict):
                return certificate_hash(certificate)
    return ""
