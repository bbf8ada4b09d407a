"""What the evaluations of all tasks have in common."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar

import torch

from refconv.records import Record

COARSE = 2.0**24  #: Numbers from which on float32 has no fractions, nor every whole number


@dataclasses.dataclass(frozen=True)
class Evaluation(Record):
    """How well a model does on a split; each task has a subclass of its own.

    Attributes:
        samples: how many samples were evaluated.
    """

    samples: int
    by_class: ClassVar[str] = ""

    def measures(self) -> dict[str, float]:
        """Return what was measured, by name; what has no value here is left out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[1:]}
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
        return {name: value for name, value in numbers.items() if not math.isnan(value)}

    @property
    def finite(self) -> bool:
        """Whether the loss is a finite number, where the task has one."""
        return math.isfinite(getattr(self, "loss", 0.0))

    @property
    def absurd(self) -> str | None:
        """A warning if the loss is one that only weights out of all measure give; None otherwise.

        Above 2^24 neighbouring numbers of float32 are more than 1 apart, so that outputs of such a size tell classes
        apart by rounding: softmax gives one class everything, or ties. A mean loss above it takes such outputs.
        """
        loss = getattr(self, "loss", None)
        if loss is None or not loss > COARSE:
            return None
        return (
            f"warning: a loss of {loss:.4g} takes outputs above {COARSE:.2g}, which float32 does not tell apart to 1: "
            "check the weights and the preprocessing"
        )

    def classes(self) -> dict[str, float | None]:
        """Return the task's primary measure for each class, by name; empty where it has none."""
        return dict(getattr(self, self.by_class)) if self.by_class else {}


Autocast = Callable[[], AbstractContextManager[object]]  #: What makes the context of one forward


def autocasting(device: torch.device, amp: bool) -> Autocast:
    """Return bf16 autocast, or no context."""
    return partial(torch.autocast, device.type, torch.bfloat16) if amp else nullcontext


def emulated_bf16(device: torch.device, amp: bool) -> str | None:
    """Return a warning if bf16 is asked for where it is emulated, which takes ten times as long as float32 or more."""
    if not amp:
        return None
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu" and torch.backends.mkldnn.is_available():
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        native = True  # or not known
    return (
        None if native else f"warning: amp: this {device.type} emulates bf16, which is slower than float32 without it"
    )
