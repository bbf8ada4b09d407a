"""The further arguments of timm's schedules: which schedules read each of them, their types and limits."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from refconv.errors import RecipeError, did_you_mean
from refconv.recipe.fields import Settings
from refconv.recipe.settings import check_range, coerced, setting
from refconv.records import type_hints

_CYCLES = ("cosine", "tanh", "poly")
_ANY = (*_CYCLES, "step", "multistep", "wsd", "rsqrt", "constant")


def _read_by(*schedules: str, default: Any = None, **limits: Any) -> Any:
    """Declare an argument of timm's create_scheduler_v2, which takes all of them for any schedule."""
    return setting(", ".join(schedules), "", default, **limits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Arguments:
    """What ``sched_kwargs`` may hold; None where timm has a default of its own."""

    decay_epochs: float | None = _read_by("step", "wsd", "rsqrt", above=0)
    decay_rate: float = _read_by("step", "multistep", "poly", least=0)
    decay_milestones: tuple[float, ...] = _read_by("multistep", least=0)
    cooldown_epochs: int = _read_by(*_CYCLES, "wsd", "rsqrt", least=0)
    cycle_mul: float = _read_by(*_CYCLES, above=0)
    cycle_decay: float = _read_by(*_CYCLES, least=0)
    cycle_limit: int = _read_by(*_CYCLES, least=1)
    k_decay: float = _read_by("cosine", "poly", above=0)
    decay_fn: str | None = _read_by("wsd", "rsqrt", choices=("linear", "1-sqrt", "cosine", "power", "exp"))
    stable_timescale: float | None = _read_by("rsqrt", above=0)
    noise: tuple[float, ...] | None = _read_by(*_ANY, least=0)
    noise_pct: float = _read_by(*_ANY, least=0)
    noise_std: float = _read_by(*_ANY, least=0)
    noise_seed: int = _read_by(*_ANY, least=0)


@functools.cache
def _fields() -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(_Arguments)}


def check_schedule(recipe: Settings) -> None:
    """Check that the schedule reads what is given for it, and that values have their types and limits."""
    for name, value in recipe.sched_kwargs.items():
        where, fields = f"sched_kwargs.{name}", _fields()
        if name not in fields:
            expected, remedy = ", ".join(fields), did_you_mean(name, fields)
            raise RecipeError("unknown argument of a schedule", where=where, expected=expected, remedy=remedy)
        readers = fields[name].metadata["group"]
        if recipe.sched not in readers.split(", "):
            what, expected = f"has no effect on the schedule {recipe.sched}", f"sched = {readers}"
            raise RecipeError(what, where=where, expected=expected)
        check_range(fields[name], coerced(where, type_hints(_Arguments)[name], value), where=where)
