"""Equal budgets: the setting of a transformation that comes closest to a given number of trained parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from refconv.config import TransformConfig
from refconv.errors import SettingError
from refconv.parametrizations import TRANSFORMS, config_of
from refconv.records import Record
from refconv.surgery.planning import plan_of


@dataclass(frozen=True)
class Budget(Record):
    """The settings that come closest to a number of trained parameters, and by how much they miss it.

    Attributes:
        transform: name of the transformation.
        settings: to hand over to :func:`refconv.surgery.reparametrize`: those given and the one that was fitted.
        count: numbers of the transformation that are trained with them, over all layers.
        miss: the count minus what was asked for.
    """

    transform: str
    settings: dict[str, Any]
    count: int
    miss: int

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.transform} with {chosen}: {self.count:,} trained, {self.miss:+,} against the budget"


def fit_budget(model: nn.Module, config: TransformConfig | str, parameters: int, **settings: Any) -> Budget:
    """Find the size of a transformation that comes closest to a number of trained parameters.

    Counts follow from shapes alone: nothing is allocated and the model is not touched. Of two sizes that are equally
    close the smaller is taken, and the smallest where a transformation cannot grow as far.

    Args:
        model: any module with convolutions.
        config: the name of a transformation with a size, such as ``low_rank`` with its rank; or its configuration, in
            which the size does not count.
        parameters: the number to come close to, over all layers of the transformation; what else of the model is
            trained does not count.
        **settings: with a name, other settings of the transformation.

    Raises:
        SettingError: if the transformation has no size, its size was given, or a setting is out of its range.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
        >>> print(fit_budget(model, "low_rank", 200))
        low_rank with rank=4: 208 trained, +8 against the budget
    """
    complete = config_of(config, settings)
    name = complete.method
    kind = TRANSFORMS[name]
    if kind.size is None:
        sized = [other for other, candidate in TRANSFORMS.items() if candidate.size is not None]
        raise SettingError(
            f"{name} has no setting that changes how many numbers are trained",
            where="parameters",
            expected=f"one of {', '.join(sized)}",
            remedy=f"it trains {plan_of(model, complete).extra_parameters:,}",
        )
    size = kind.size
    if size in settings:
        raise SettingError("is set by the budget", where=size, remedy="leave it out")

    def count(step: int) -> int:
        own: dict[str, Any] = {size: kind.sized(step)}
        return plan_of(model, dataclasses.replace(complete, **own)).extra_parameters

    high = 1
    while count(high) < parameters and count(2 * high) > count(high):
        high *= 2
    low = 0  # counts never shrink as sizes grow: find the first size that reaches the number, or the last growth
    target = min(parameters, count(high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= target else (middle, high)
    best = min((step for step in (high - 1, high) if step), key=lambda step: (abs(count(step) - parameters), step))
    given = {key: value for key, value in settings.items() if key not in {"include", "exclude"}}
    return Budget(name, {**given, size: kind.sized(best)}, count(best), count(best) - parameters)
