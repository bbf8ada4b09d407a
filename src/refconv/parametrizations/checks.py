"""Checks of single settings that several transformations share."""

from __future__ import annotations

from refconv.errors import SettingError


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Check that a setting is a whole number.

    Args:
        name: the setting.
        value: its value.
        least: the smallest value accepted.

    Raises:
        SettingError: if it is not, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingError(
            "value out of range", where=name, expected=f"a whole number of at least {least}", found=repr(value)
        )


def check_positive(name: str, value: object) -> None:
    """Check that a setting is a finite number above zero.

    Raises:
        SettingError: if it is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise SettingError("value out of range", where=name, expected="a number above 0", found=repr(value))
