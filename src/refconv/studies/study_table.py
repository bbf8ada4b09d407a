"""One table of a study's TOML: its entries by type, and in one line what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refconv.errors import StudyError, did_you_mean

_REQUIRED: Any = object()


class Table:
    """A table whose entries are asked for one by one; what nobody asked for is an unknown key.

    Attributes:
        path: where the table stands; empty for the whole file.
        name: its own name.

    Args:
        content: the entries.
        path: where the table stands.
        name: the last part of its name, which may hold dots itself.
    """

    def __init__(self, content: Mapping[str, Any], path: str, name: str = "") -> None:
        self._content, self.path, self.name = dict(content), path, name
        self._asked: set[str] = set()

    def table(self, name: str, *, required: bool = False) -> Table:
        """Return a table inside this one; an empty one if it is missing.

        Raises:
            StudyError: if it is no table, or is missing and required.
        """
        value = self._value(name, _REQUIRED if required else {})
        if not isinstance(value, Mapping):
            raise self._wrong(name, "a table", value)
        return Table(value, self._where(name), name)

    def tables(self) -> list[Table]:
        """Return all entries, each of which must be a table.

        Raises:
            StudyError: if there is none, or one is no table.
        """
        if not self._content:
            raise StudyError("empty", where=self.path, expected=f"at least one table [{self.path}.NAME]")
        return [self.table(name, required=True) for name in self._content]

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """Return a text.

        Raises:
            StudyError: if it is missing or no text.
        """
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a text", value)
        return value

    def word(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return one of some words.

        Raises:
            StudyError: if it is another one.
        """
        value = self.text(name, default)
        if value not in choices:
            raise self._wrong(name, "one of " + ", ".join(choices), value, did_you_mean(value, choices))
        return value

    def truth(self, name: str, default: bool) -> bool:
        """Return true or false.

        Raises:
            StudyError: if it is neither.
        """
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def share(self, name: str, default: float) -> float:
        """Return a number in [0, 1).

        Raises:
            StudyError: if it is none.
        """
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise self._wrong(name, "a number from 0 to below 1", value)
        return float(value)

    def count(self, name: str, default: int | None = None) -> int:
        """Return a whole number from 1 on.

        Raises:
            StudyError: if it is missing and has no default, or is none.
        """
        value = self._value(name, _REQUIRED if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(name, "a whole number from 1 on", value)
        return value

    def seeds(self, name: str, first: int, default: int | None = None) -> tuple[int, ...]:
        """Return seeds, given as a list or as their number.

        Args:
            name: the key.
            first: the first seed where only their number is given.
            default: their number where nothing is given.

        Raises:
            StudyError: if they are missing, repeated, or no whole numbers from 0 on.
        """
        value = self._value(name, _REQUIRED if default is None else default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return tuple(range(first, first + value))
        whole = isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
        if not whole or not value or len(set(value)) < len(value):
            raise self._wrong(name, "how many, or a list of different whole numbers", value)
        return tuple(value)

    def values(self, name: str) -> tuple[Any, ...]:
        """Return a list of different values.

        Raises:
            StudyError: if it is no list, is empty, or holds a value twice.
        """
        value = self._value(name, _REQUIRED)
        if not isinstance(value, list) or not value or any(item in value[:i] for i, item in enumerate(value)):
            raise self._wrong(name, "a list of different values", value)
        if any(isinstance(item, float) and not math.isfinite(item) for item in value):
            raise self._wrong(name, "finite numbers", value)
        return tuple(value)

    def has(self, name: str) -> bool:
        """Say whether there is an entry of this name."""
        return name in self._content

    def settings(self, known: Iterable[str], elsewhere: Iterable[str] = ()) -> dict[str, Any]:
        """Return every entry that nobody asked for yet, each of which must have a known name.

        Args:
            known: the names.
            elsewhere: names of settings that exist and have another place.

        Raises:
            StudyError: if one has not; with the closest name that would do.
        """
        known, elsewhere = tuple(known), set(elsewhere)
        rest = {name: value for name, value in self._content.items() if name not in self._asked}
        for name in rest:
            if name not in known and name in elsewhere:
                raise StudyError("is not set here: the study gives it to each run", where=self._where(name))
            if name not in known:
                where, others = self._where(name), (*known, *self._asked)
                raise StudyError("unknown key", where=where, remedy=did_you_mean(name, others))
        return rest

    def finish(self) -> None:
        """Check that every entry was asked for.

        Raises:
            StudyError: naming one that was not.
        """
        self.settings(())

    def _value(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._content.get(name, default)
        if value is _REQUIRED:
            unasked = self._content.keys() - self._asked
            raise StudyError("missing key", where=self._where(name), found=", ".join(sorted(unasked)) or "nothing")
        return value

    def _where(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _wrong(self, name: str, expected: str, found: Any, remedy: str | None = None) -> StudyError:
        return StudyError("wrong value", where=self._where(name), expected=expected, found=repr(found), remedy=remedy)
