"""How one field of a recipe is declared, and how its value is brought to type and checked.

Knows nothing of any particular setting, of torch or of timm.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any

from refconv.errors import RecipeError, did_you_mean, file_name_text


def setting(
    group: str,  # heading under which the command line's help lists the flag
    text: str,  # one line of help
    default: Any = dataclasses.MISSING,  # without one the recipe must give the value; dict: an empty table
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,  # must be exceeded
    most: float | None = None,
    may_change: bool = False,  # a resumed run may have another value, because the result does not depend on it
    task: str | None = None,  # the only task that has this setting
) -> Any:
    """Declare one field, with what the command line and the checks need to know in its metadata."""
    limits = {"choices": choices, "least": least, "above": above, "most": most}
    metadata = {"group": group, "help": text, **limits, "may_change": may_change, "task": task}
    if default is dict:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def required(field: dataclasses.Field[Any]) -> bool:
    """Return whether the recipe must give the value of ``field``."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@functools.cache
def _parts(hint: Any) -> tuple[Any, bool, Any, tuple[Any, ...]]:
    """Return a type without None, whether None was among it, the type whose items it states, and those of its items."""
    optional = typing.get_origin(hint) is types.UnionType
    if optional:
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    return hint, optional, typing.get_origin(hint), typing.get_args(hint)


def coerced(name: str, hint: Any, value: Any) -> Any:
    """Return a value as the type ``hint``: a list or one item as a tuple, a whole number (no bool) as a float."""
    hint, optional, holder, kinds = _parts(hint)
    if optional and value is None:
        return None
    expected = _WORDS.get(hint, "a table of names and values")
    if holder is tuple:
        items = value if isinstance(value, (list, tuple)) else (value,)
        kinds = kinds[:1] * len(items) if kinds[-1] is Ellipsis else kinds
        if len(items) == len(kinds):
            return tuple(coerced(name, kind, item) for kind, item in zip(kinds, items, strict=True))
        expected = f"{len(kinds)} numbers"
    elif holder is dict:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return dict(value)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return (
            float(value) if isinstance(value, float) or abs(value) < _FLOAT64 else math.inf if value > 0 else -math.inf
        )
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        if isinstance(value, str) and (shown := file_name_text(value)) != value:
            what, remedy = "a name that is not UTF-8, which no recipe can hold", "rename the file or folder"
            raise RecipeError(what, where=name, expected="a text of UTF-8", found=shown, remedy=remedy)
        return value
    raise RecipeError("wrong type", where=name, expected=expected, found=repr(value))


_FLOAT64 = 2**1023  # whole numbers of this size become infinite, which is refused as such
_INT64 = 2**63
_FLOAT32 = (2 - 2**-23) * 2.0**127


def check_range(field: dataclasses.Field[Any], value: Any, *, where: str | None = None) -> None:
    """Check a value of the right type against the choices and limits of its field, called ``where`` in messages."""
    limits, where = field.metadata, where or field.name
    choices = limits["choices"]
    for word in value if isinstance(value, tuple) else (value,):
        if choices and word is not None and word not in choices:
            expected, remedy = "one of " + ", ".join(choices), did_you_mean(word, choices)
            raise RecipeError("unknown word", where=where, expected=expected, found=repr(word), remedy=remedy)
    bounds = (("least", operator.ge, "at least"), ("above", operator.gt, "more than"), ("most", operator.le, "at most"))
    for item in value if isinstance(value, tuple) else (value,):
        if not isinstance(item, (int, float)):
            continue
        if not float("-inf") < item < float("inf"):
            raise RecipeError("not a finite number", where=where, found=str(item))
        if isinstance(item, float) and abs(item) > _FLOAT32:
            expected = f"at most {_FLOAT32:.2g}, the largest number of float32"
            raise RecipeError("too large", where=where, expected=expected, found=f"{item:g}")
        if isinstance(item, int) and not -_INT64 <= item < _INT64:  # which no file of a run would hold
            raise RecipeError("too large", where=where, expected="a whole number of 64 bits", found=str(item))
        for bound, holds, words in bounds:
            limit = limits[bound]
            if limit is not None and not holds(item, limit):
                expected = f"{words} {limit:g}"
                raise RecipeError("value out of range", where=where, expected=expected, found=f"{item:g}")
