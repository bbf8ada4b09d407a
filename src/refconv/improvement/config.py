"""What the user of `refconv improve` decides: the budget, who takes part, and how the work is carried out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping  # noqa: F401  # in the signature that ImproveConfig inherits
from dataclasses import dataclass
from typing import Any, Literal  # noqa: F401  # so is Any

from refconv.errors import SettingError
from refconv.exporting.config import ExportConfig
from refconv.models.exported import needs
from refconv.studies.executors import Execution

_UNITS: dict[str, tuple[Literal["epochs", "seconds", "samples"], float]] = {
    **dict.fromkeys(("ep", "epoch", "epochs"), ("epochs", 1.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("m", "min", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("s", "sec", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("sample", "samples", "image", "images"), ("samples", 1.0)),
}
_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
_PART = r"\s*([0-9]*\.?[0-9]+)\s*([kM]?)\s*([a-z]+)\s*"
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Budget:
    """How much training all runs of an improvement may have together, the search for settings included.

    Attributes:
        amount: a positive number.
        unit: ``epochs`` of the training split, ``samples``, or ``seconds`` of wall-clock time.
    """

    amount: float
    unit: Literal["epochs", "seconds", "samples"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget such as ``40ep``, ``2h``, ``1h30m`` or ``400k samples``.

        Raises:
            SettingError: if it is none.

        Example:
            >>> Budget.parse("1h30m"), Budget.parse("400k samples")
            (Budget(amount=5400.0, unit='seconds'), Budget(amount=400000.0, unit='samples'))
        """
        found = [
            (float(number) * _FACTORS[factor], _UNITS.get(word))
            for number, factor, word in re.findall(_PART, str(text))
        ]
        amounts = [amount * unit[1] for amount, unit in found if unit is not None]
        units = [unit for _, unit in found if unit is not None]
        sizes = [size for _, size in units]
        # Several only as hours, minutes and seconds, in this order.
        clock = {name for name, _ in units} == {"seconds"} and sizes == sorted({*sizes}, reverse=True)
        whole = re.fullmatch(f"(?:{_PART})+", str(text)) and len(units) == len(found)
        if not whole or not (len(units) == 1 or clock) or not sum(amounts):
            expected = "such as 40ep, 2h, 1h30m or '400k samples'"
            raise SettingError("not a budget", where="budget", expected=expected, found=repr(text))
        return cls(sum(amounts), units[0][0])

    def samples(self, *, train_size: int, seconds_per_sample: float, jobs: int) -> float:
        """Return the budget in training samples.

        Args:
            train_size: samples of the training split.
            seconds_per_sample: of plain training, validation included.
            jobs: runs at a time.
        """
        if self.unit == "epochs":
            return self.amount * train_size
        return self.amount if self.unit == "samples" else self.amount * jobs / seconds_per_sample

    def for_samples(self, samples: float, *, train_size: int, seconds_per_sample: float, jobs: int) -> str:
        """Return a budget of at least so many training samples, in the unit of this one, as :meth:`parse` reads it.

        Example:
            >>> how = {"train_size": 1000, "seconds_per_sample": 0.01, "jobs": 2}
            >>> [Budget(1, unit).for_samples(1_450_000, **how) for unit in ("epochs", "samples", "seconds")]
            ['1450ep', '1450k samples', '2h01m']
        """
        if self.unit == "epochs":
            return f"{math.ceil(samples / train_size)}ep"
        if self.unit == "samples":
            return f"{math.ceil(samples / 1000)}k samples"
        minutes = math.ceil(samples * seconds_per_sample / jobs / 60)
        return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"

    def __str__(self) -> str:
        return f"{self.amount:,.0f} {self.unit}" if self.amount >= 10 else f"{self.amount:g} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class ImproveConfig(Execution):
    """How a network is improved; where, and how many runs at a time, as in :class:`refconv.studies.Execution`.

    Attributes:
        budget: of all training together.
        contenders: glob patterns of the contenders that take part, such as ``plain`` or ``refocus*``; all by default.
        teacher: a model to distil from: a pretrained timm name, run, folder or module:function; ``base`` is the
            network itself as it was before. None leaves distillation out.
        exports: formats of :mod:`refconv.exporting` that the result is written in as well, beside its folder.
        dry_run: stop after the look, before anything is trained.
        check: refuse a network that starts at chance, which is a sign of a wrong input.
        show: show progress on standard output.
    """

    budget: Budget
    contenders: tuple[str, ...] = ()
    teacher: str | None = None
    exports: tuple[str, ...] = ()
    dry_run: bool = False
    check: bool = True
    show: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.exports:
            for package in _PACKAGES.get(ExportConfig(format=name).format, ()):
                needs(package, "openvino" if name == "openvino" else "export")
