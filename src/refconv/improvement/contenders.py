"""Who takes part: the ways to train a network further, with the learning rates each is tried at."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.errors import RecipeError, SettingError
from refconv.methods.registry import method_of
from refconv.recipe.recipe import Recipe
from refconv.tasks.registry import task_of

_SLOW, _FAST = (1.0, 0.3, 3.0), (3.0, 10.0, 1.0)
"""Learning rates as multiples of the recipe's, the most promising one first: with all weights at the full rate, and
where kernels move more slowly than norms and head."""

_SLOW_KERNELS = {"kernel_lr_scale": 0.1}
_INVERSE = {"method": "refocus", "gram_scale": "normalized", "order": "layer", "power": -1.0, "damping": 0.1}
_TAUGHT = {"distill_alpha": 0.5, "distill_temperature": 2.0}


@dataclass(frozen=True)
class Contender:
    """A way to train a network further."""

    name: str  #: its name
    title: str  #: what it is, in words
    settings: Mapping[str, Any]  #: what its recipe has beside the common settings
    factors: tuple[float, ...]  #: learning rates as multiples of the common one, the most promising one first
    complexity: int  #: within noise a contender of less is preferred


_CONTENDERS = (
    Contender("plain", "continued training", {}, _SLOW, 0),
    Contender("refocus", "refocusing", {"method": "refocus"}, _FAST, 2),
    Contender("slow-kernels", "kernels at a tenth of the learning rate", _SLOW_KERNELS, _FAST, 1),
    Contender("norms-head", "norms and head only", {"train": "norm+head"}, _FAST, 1),
    Contender("refocus-paper", "refocusing, paper's scale", {"method": "refocus", "gram_scale": "paper"}, _FAST, 2),
    Contender("refocus-half", "refocusing, power 0.5", {"method": "refocus", "power": 0.5}, _FAST, 2),
    Contender("refocus-norm", "refocusing, normalised", {"method": "refocus", "gram_scale": "normalized"}, _SLOW, 2),
    Contender("refocus-inverse", "refocusing, inverse power", _INVERSE, _SLOW, 2),
    Contender("refocus-decayed", "refocusing, inverse power, decay 0.1", {**_INVERSE, "weight_decay": 0.1}, _SLOW, 2),
)
"""In the order in which they take part where the budget does not suffice for all."""

_TAUGHT_TOO = ("plain", "slow-kernels", "refocus")


def contenders(teacher: str | None, teacher_checkpoint: str | None, patterns: Sequence[str]) -> tuple[Contender, ...]:
    """Return the contenders whose names match, the most promising first."""
    taught = {"distill": teacher, "distill_checkpoint": teacher_checkpoint, **_TAUGHT}
    known = list(_CONTENDERS)
    for one in _CONTENDERS if teacher is not None else ():
        if one.name in _TAUGHT_TOO:
            settings = {**one.settings, **taught}
            more = f"{one.name}-taught", f"{one.title}, distilled", settings, one.factors, one.complexity + 1
            known.append(Contender(*more))
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(one.name, pattern) for one in known):
            names, remedy = ", ".join(one.name for one in known), "name a teacher to distil"
            remedy = remedy if pattern.endswith("taught") else "give one of these names or a pattern of them"
            raise SettingError(
                "matches no contender", where="contenders", expected=names, found=repr(pattern), remedy=remedy
            )
    return tuple(one for one in known if not patterns or any(fnmatch.fnmatchcase(one.name, p) for p in patterns))


def recipe_of(contender: Contender, common: Recipe, factor: float, **own: Any) -> Recipe:
    """Return the recipe of a contender."""
    recipe = dataclasses.replace(common, **{"lr": common.lr * factor, **contender.settings, **own})
    task_of(recipe).check(recipe)
    method_of(recipe)
    return recipe


def able(found: Sequence[Contender], common: Recipe) -> tuple[tuple[Contender, ...], dict[str, str]]:
    """Return the contenders that go with the common settings, and of the others by name why they do not."""
    refused: dict[str, str] = {}
    for contender in found:
        if (why := _obstacle(contender, common)) is not None:
            refused[contender.name] = why
    left = tuple(contender for contender in found if contender.name not in refused)
    if not left:
        raise SettingError("no contender goes with these settings", found="; ".join(refused.values()))
    return left, refused


def _obstacle(contender: Contender, common: Recipe) -> str | None:
    try:
        recipe_of(contender, common, contender.factors[0])
    except RecipeError as error:
        return str(error)
    return None
