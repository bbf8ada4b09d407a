"""What a logger is told about a run."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """A run as a logger sees it when it is opened."""

    folder: Path
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]  # the recipe's ``log_kwargs``
    step: int = 0  # steps taken before this session; what was logged after them is logged again, with the same values
    id: str | None = None  # by which an earlier session's log goes on; None where there is none

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return str(self.settings.get("project", "refconv"))

    @property
    def name(self) -> str:
        """The name of the run, by default that of its folder."""
        return str(self.settings.get("name", self.folder.resolve().name))

    @property
    def group(self) -> str | None:
        """The group of the run."""
        group = self.settings.get("group")
        return None if group is None else str(group)

    @property
    def tags(self) -> list[str]:
        """Words by which the run is found."""
        tags = self.settings.get("tags", ())
        return [tags] if isinstance(tags, str) else [str(tag) for tag in tags]


class Logger(ABC):
    """A place that a run is logged to. What it raises while a run trains ends the logging, and not the run.

    Attributes:
        package: what has to be installed.
        extra: the extra that brings it.
    """

    package: ClassVar[str]
    extra: ClassVar[str]

    @abstractmethod
    def open(self, run: LoggedRun) -> str | None:
        """Start to log a run, or go on; return the id to go on by, None where the folder of the run is enough."""

    @abstractmethod
    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Log numbers of a ``kind``: start, train, val or test."""

    @abstractmethod
    def record(self, record: Mapping[str, Any]) -> None:
        """Log the record of the finished run."""

    def flush(self) -> None:  # noqa: B027  # most send at once, or by themselves
        """Bring what was logged to where it is kept; called at each checkpoint."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """End; ``finished`` is False where the run can be resumed."""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, names joined by dots; lists are texts.

    Example:
        >>> flat({"a": {"b": 1}, "c": [1, 2], "d": None})
        {'a.b': 1, 'c': '[1, 2]'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
