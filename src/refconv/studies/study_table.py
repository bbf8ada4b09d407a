"""One table of a study's TOML: its entries by type, and one line on what is wrong with an entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from refconv.errors import StudyError, did_you_mean

_REQUIRED: Any = object()


class Table:
    """A table whose entries are read one by one; an entry that nothing reads is an unknown key.

    Every method that returns an entry raises a StudyError if the entry has another type or an impossible value, or if
    it is missing and has no default.

    Attributes:
        path: where the table stands; empty for the whole file.
        name: its own name.

    Args:
        content: the entries.
        path: where the table stands.
        name: the last part of its name, which may itself contain dots.
    """

    def __init__(self, content: Mapping[str, Any], path: str, name: str = "") -> None:
        self._content, self.path, self.name = dict(content), path, name
        self._read: set[str] = set()

    def table(self, name: str, *, required: bool = False) -> Table:
        """Return a table inside this one; an empty one if it is missing."""
        value = self._value(name, "a table", _is_table, _REQUIRED if required else {})
        return Table(value, self._where(name), name)

    def tables(self) -> list[Table]:
        """Return all entries, each of which must be a table.

        Raises:
            StudyError: if there is none, or one is not a table.
        """
        if not self._content:
            raise StudyError("empty", where=self.path, expected=f"at least one table [{self.path}.NAME]")
        return [self.table(name, required=True) for name in self._content]

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """Return a text."""
        return str(self._value(name, "a text", lambda value: isinstance(value, str), default))

    def word(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return one of some words.

        Raises:
            StudyError: if it is another one.
        """
        value = self.text(name, default)
        if value not in choices:
            raise self._wrong(name, "one of " + ", ".join(choices), value, did_you_mean(value, choices))
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        return bool(self._value(name, "true or false", lambda value: isinstance(value, bool), default))

    def share(self, name: str, default: float) -> float:
        """Return a number in [0, 1)."""
        return float(self._value(name, "a number from 0 to below 1", _is_share, default))

    def count(self, name: str, default: int = _REQUIRED) -> int:
        """Return a positive whole number."""
        return int(self._value(name, "a whole number from 1 on", _is_count, default))

    def seeds(self, name: str, first: int, default: int = _REQUIRED) -> tuple[int, ...]:
        """Return seeds, given as a list or as their number.

        Args:
            name: the key.
            first: the first seed where only their number is given.
            default: their number where nothing is given.
        """
        value = self._value(name, "how many, or a list of different whole numbers", _are_seeds, default)
        return tuple(range(first, first + value)) if isinstance(value, int) else tuple(value)

    def values(self, name: str) -> tuple[Any, ...]:
        """Return a list of different values, all of them finite.

        Raises:
            StudyError: if one is not finite.
        """
        found = tuple(self._value(name, "a list of different values", _are_different))
        if any(isinstance(item, float) and not math.isfinite(item) for item in found):
            raise self._wrong(name, "finite numbers", list(found))
        return found

    def has(self, name: str) -> bool:
        """Return whether there is an entry of this name."""
        return name in self._content

    def settings(self, known: Iterable[str], elsewhere: Iterable[str] = ()) -> dict[str, Any]:
        """Return every entry that was not read yet, each of which must have a known name.

        Args:
            known: the names.
            elsewhere: names of settings that exist and have another place.

        Raises:
            StudyError: if one has not; with the closest name that would do.
        """
        known, elsewhere = tuple(known), set(elsewhere)
        rest = {name: value for name, value in self._content.items() if name not in self._read}
        for name in rest:
            if name not in known and name in elsewhere:
                raise StudyError("is not set here: the study gives it to each run", where=self._where(name))
            if name not in known:
                remedy = did_you_mean(name, (*known, *self._read))
                raise StudyError("unknown key", where=self._where(name), remedy=remedy)
        return rest

    def finish(self) -> None:
        """Check that every entry was read.

        Raises:
            StudyError: naming one that was not.
        """
        self.settings(())

    def _value(self, name: str, expected: str, valid: Callable[[Any], bool], default: Any = _REQUIRED) -> Any:
        self._read.add(name)
        value = self._content.get(name, default)
        if value is _REQUIRED:
            unread = ", ".join(sorted(self._content.keys() - self._read))
            raise StudyError("missing key", where=self._where(name), found=unread or "nothing")
        if not valid(value):
            raise self._wrong(name, expected, value)
        return value

    def _where(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _wrong(self, name: str, expected: str, found: Any, remedy: str | None = None) -> StudyError:
        return StudyError("wrong value", where=self._where(name), expected=expected, found=repr(found), remedy=remedy)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_share(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value < 1


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _are_different(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(item in value[:i] for i, item in enumerate(value))


def _are_seeds(value: Any) -> bool:
    return _is_count(value) or (_are_different(value) and all(type(item) is int and item >= 0 for item in value))
