"""Records: frozen dataclasses that go to JSON and come back the same.

A record is what a measurement, a plan or a certificate leaves behind. Every record class derives from
:class:`Record`; reading is strict, so a file with a missing or a surplus key is refused instead of half-read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from refconv.digests import DAMAGED, split_digest, with_digest

Self = TypeVar("Self", bound="Record")

#: The type hints of a class, which are looked up once
type_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


@dataclasses.dataclass(frozen=True)
class Record:
    """Base of all records: a frozen dataclass of numbers, strings, tuples, mappings and other records.

    ``class New(Record, former={"old": "new"})`` reads the field ``new`` from files of earlier versions as well, in
    which it was called ``old``.
    """

    _former: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, *, former: Mapping[str, str] | None = None) -> None:
        super().__init_subclass__()
        cls._former = former or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain dictionaries and lists, ready for JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def to_json(self) -> str:
        """Return the record as JSON text that ends in a newline."""
        return self.as_text(self.to_dict())

    def as_text(self, values: Mapping[str, Any]) -> str:
        """Return what the record holds, or this with a digest, as indented JSON text."""
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls: type[Self], data: dict[str, Any]) -> Self:
        """Read a record back from what :meth:`to_dict` returned, today or in an earlier version.

        Raises:
            ValueError: if a key is missing or surplus, the data is no mapping, or a value is of another type; the
                message names the field.
        """
        if not isinstance(data, dict):
            raise ValueError(f"{cls.__name__}: expected names and values, found {type(data).__name__}")
        data = {cls._former.get(name, name): value for name, value in data.items()}
        optional = dataclasses.MISSING
        fields = {one.name: (one.default, one.default_factory) for one in dataclasses.fields(cls)}
        surplus = sorted(data.keys() - fields.keys())
        missing = sorted(name for name in fields.keys() - data.keys() if fields[name] == (optional, optional))
        if surplus or missing:
            raise ValueError(f"{cls.__name__}: missing keys {missing}, surplus keys {surplus}")
        hints = type_hints(cls)
        try:
            return cls(**{name: _restored(hints[name], data[(at := name)]) for name in data})
        except ValueError as error:
            raise ValueError(f"{cls.__name__}.{at}: {error}") from None

    @classmethod
    def from_json(cls: type[Self], text: str) -> Self:
        """Read a record from JSON text, with or without a digest; see :meth:`from_dict`.

        Raises:
            ValueError: also if the text is no JSON, or its digest is another.
        """
        return cls.from_dict(content_of(text))

    def file_text(self) -> str:
        """Return what a file of this record holds: its JSON with a digest."""
        return self.as_text(with_digest(self.to_dict()))

    def write(self, path: Path | str) -> None:
        """Write the record to ``path`` as JSON with a digest, whole or not at all."""
        replace_file(Path(path), self.file_text().encode())

    @classmethod
    def read(cls: type[Self], path: Path | str) -> Self:
        """Read a record from the JSON file at ``path``."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that, whatever happens, either the old or the new content is there.

    Raises:
        OSError: if it cannot be written; the old content is there then.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        if sys.platform != "win32":  # which opens no folders
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # so that the renamed file stays renamed when the power fails
            finally:
                os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def content_of(text: str) -> Any:
    """Return what a JSON file of records says, without its digest.

    Raises:
        ValueError: if it is no JSON, or its digest is another.
    """
    content = parsed_json(text)
    if not isinstance(content, dict):
        return content
    rest, whole = split_digest(content)
    if whole is False:
        raise ValueError(DAMAGED)
    return rest


def parsed_json(text: str) -> Any:
    """Return what JSON text says; whatever is wrong with it is a ValueError, deep nesting and long numbers too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def with_scale(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were saved with a scale: before there was a choice, ``normalize`` was true or false."""
    own = dict(settings)
    return {"scale": "normalized" if own.pop("normalize", False) else "paper", **own}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _restored(hint: Any, value: Any) -> Any:
    """Turn what JSON gave back into the type that the annotation names.

    Raises:
        ValueError: if it is of another type than is named.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in args if option is not type(None)]
        return None if value is None else _restored(options[0], value) if len(options) == 1 else value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"expected a list, found {type(value).__name__}")
        hints = [args[0]] * len(value) if args[1:] == (Ellipsis,) else args
        return tuple(_restored(inner, item) for inner, item in zip(hints, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"expected names and values, found {type(value).__name__}")
        return {key: _restored(args[1], item) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value)
    plain = {int: (int,), float: (float, int), str: (str,), bool: (bool,)}.get(hint)  # a boolean is no number here
    if plain and type(value) not in plain:
        raise ValueError(f"expected {hint.__name__}, found {value!r:.40}")
    return value
