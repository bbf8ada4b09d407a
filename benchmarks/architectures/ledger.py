"""Ledgers: files of one JSON record a line, added to as the walk goes on, valid for one set of versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

import refconv
from architectures.names import Name


def versions() -> dict[str, str]:
    """Return the versions that a record depends on."""
    packages = {"refconv": refconv, "torch": torch, "timm": timm, "torchvision": torchvision}
    return {name: str(package.__version__).partition("+")[0] for name, package in packages.items()}


class Ledger:
    """Records by model name; the file's first line says under which versions they were made.

    A file of other versions is begun anew. A later record of a name replaces an earlier one.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[Name, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if not lines or json.loads(lines[0]) != versions():
            self.write([])
            return
        for line in lines[1:]:
            self._keep(json.loads(line))

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record and append it to the file."""
        self._keep(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def write(self, order: Sequence[Name]) -> None:
        """Write the file again: one record a name, in the order given, without the names that are not in it."""
        rows = [self.records[name] for name in order if name in self.records]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(map(_line, [versions(), *rows])), encoding="utf-8")

    def _keep(self, record: dict[str, Any]) -> None:
        self.records[Name(record["library"], record["name"])] = record


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n"
