"""Studies: methods compared at equal cost, from a TOML file to a record, tables and a plot.

The names below load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.studies.comparison import Comparison
    from refconv.studies.conduct import CompareConfig, compare
    from refconv.studies.executors import Execution
    from refconv.studies.reading import read_study
    from refconv.studies.study import Study

__all__ = ["CompareConfig", "Comparison", "Execution", "Study", "compare", "read_study"]

_HOMES = {
    "CompareConfig": "conduct", "Comparison": "comparison", "Execution": "executors", "Study": "study",
    "compare": "conduct", "read_study": "reading",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
