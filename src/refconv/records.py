"""Records: frozen dataclasses that go to JSON and come back the same.

A record is what a measurement, a plan or a certificate leaves behind. Every record class derives from
:class:`Record`; reading is strict, so a file with a missing or a surplus key is refused instead of half-read.

What files of JSON and TOML say enters through :func:`parsed_json`, :func:`parsed_toml` and :func:`conformed`, which
bound numbers and nesting, and check every value against a type.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from refconv.digests import COPY_AGAIN, DAMAGED, split_digest, with_digest
from refconv.errors import RecordError, file_name_text, said_by
from refconv.paths import path_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Self = TypeVar("Self", bound="Record")

_DEEPEST = 64  # levels of lists and mappings inside of one another
_LARGEST = 2**63  # that whole numbers are smaller than; those of torch are

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
        """Return the record as plain dictionaries and lists, ready for JSON; names that are not UTF-8 as text."""
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
        at = ""
        try:
            return cls(**{name: conformed(hints[name], data[(at := name)]) for name in data})
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
        replace_file(path_of(path), self.file_text().encode())

    @classmethod
    def read(cls: type[Self], path: Path | str) -> Self:
        """Read a record from the JSON file at ``path``.

        Raises:
            RecordError: if it cannot be read, is no JSON, of another form, or its digest is another.
        """
        try:
            return cls.from_json(path_of(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordError(
                "cannot read the record", where=str(path), found=said_by(error), remedy=COPY_AGAIN
            ) from error


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


def parsed_json(text: str | bytes) -> Any:
    """Return what JSON text says, which is UTF-8 as bytes.

    Raises:
        ValueError: if it is no JSON, nested too deeply, or holds whole numbers of more than 64 bits or half characters.
    """
    text = text.decode() if isinstance(text, bytes) else text
    try:
        # The hook costs time, and long numbers are rare.
        content = json.loads(text, parse_int=_whole if re.search(r"\d{19}", text) else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(content)
    if re.search(r"\\u[dD][89abABcdefCDEF]", text):  # halves of characters, in pairs or alone
        json.dumps(content, ensure_ascii=False).encode()
    return content


def parsed_toml(text: str) -> dict[str, Any]:
    """Return what TOML text says.

    Raises:
        ValueError: if it is no TOML, nested too deeply, or holds whole numbers of more than 64 bits.
    """
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    for level in _check_depth(content):
        for number in level:
            if type(number) is int:
                _whole(str(number))
    return content


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= len(str(_LARGEST)) + 1 else _LARGEST
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError(f"a whole number of more than 64 bits: {digits:.30}")
    return number


def _check_depth(content: Any) -> list[list[Any]]:
    """Return what a structure holds, level by level; refuse one of many levels."""
    levels = [[content]]
    while inner := [
        value
        for one in levels[-1]
        if isinstance(one, (dict, list))
        for value in (one.values() if isinstance(one, dict) else one)
    ]:
        levels.append(inner)
        if len(levels) > _DEEPEST:
            raise ValueError("nested too deeply")
    return levels


def with_scale(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were saved with a scale: before there was a choice, ``normalize`` was true or false."""
    own = dict(settings)
    return {"scale": "normalized" if own.pop("normalize", False) else "paper", **own}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return file_name_text(value)
    return {_plain(str(key)): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def conformed(hint: Any, value: Any) -> Any:
    """Return a value of JSON as the type that an annotation names: records, tuples, mappings, one of several types.

    Example:
        >>> conformed(tuple[float, ...] | None, [1, 2.5]), conformed(dict[str, Any], {"a": [1]})
        ((1, 2.5), {'a': [1]})

    Raises:
        ValueError: if it is of another type.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(args, value)
    if origin is typing.Literal:
        if value not in args:
            raise ValueError(f"expected {' or '.join(map(repr, args))}, found {value!r:.40}")
        return value
    if origin in (tuple, list, collections.abc.Sequence):
        return _listed(origin, args, value)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"expected names and values, found {type(value).__name__}")
        return {conformed(args[0], key): conformed(args[1], item) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value)
    if typing.is_typeddict(hint):
        return _named_values(hint, value)
    # A boolean is no number here.
    fits = type(value) in ((float, int) if hint is float else (hint,)) if hint in _PLAIN else isinstance(value, hint)
    if not fits:
        raise ValueError(f"expected {hint.__name__}, found {value!r:.40}")
    return value


_PLAIN = (int, float, str, bool)


def _listed(origin: Any, hints: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, found {type(value).__name__}")
    each = hints if origin is tuple and hints[1:] != (Ellipsis,) else [hints[0]] * len(value)
    if len(each) != len(value):
        raise ValueError(f"expected {len(each)} values, found {len(value)}")
    found = [conformed(inner, item) for inner, item in zip(each, value, strict=True)]
    return found if origin is list else tuple(found)


def _one_of(hints: tuple[Any, ...], value: Any) -> Any:
    problems = []
    if value is None and types.NoneType in hints:
        return None
    for hint in hints:
        if hint is not types.NoneType:
            try:
                return conformed(hint, value)
            except ValueError as error:
                problems.append(str(error))
    raise ValueError(" or ".join(problems) or f"expected nothing, found {value!r:.40}")


def _named_values(hint: Any, value: Any) -> dict[str, Any]:
    """Return a mapping whose known names have values of their types; others are kept as they are."""
    if not isinstance(value, dict):
        raise ValueError(f"expected names and values, found {type(value).__name__}")
    hints = type_hints(hint)
    if missing := sorted(hint.__required_keys__ - value.keys()):
        raise ValueError(f"missing keys {missing}")
    name = ""
    try:
        return value | {key: conformed(hints[(name := key)], value[key]) for key in hints.keys() & value.keys()}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
