"""The numbers that SGD can have: learning rate, momentum, dampening and weight decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor

from refconv.errors import SettingError


def number_of(value: Any) -> float:
    """Return a setting as a number: one, or a tensor of one; NaN for what is none."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.detach().item()
    return math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Check the settings of an optimizer or of a group.

    Raises:
        SettingError: if one is not a finite number, or negative where none may be.
    """
    for name, least in (("lr", 0.0), ("momentum", 0.0), ("dampening", -math.inf), ("weight_decay", 0.0)):
        number = number_of(settings.get(name, 0.0))
        if not (math.isfinite(number) and number >= least):
            expected = "a finite number" if least else "a finite number >= 0"
            raise SettingError("invalid value", where=name, expected=expected, found=repr(settings[name]))
