"""How a run ended, without torch: what gives runs to other processes and machines need not load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with the error if there was one."""

    state: Literal["finished", "diverged", "failed", "stopped"]
    message: str = ""
