"""How well two models do their task, by the measures of the task: the analysis with data where they are no classifiers.

Of classifiers, agreement and calibration tell the same sample by sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from refconv.data import Data, Split
from refconv.data.dataset import in_drawn_order
from refconv.errors import SettingError
from refconv.measures.scores import Scores
from refconv.models.opening import Opened
from refconv.process.distributed import choose_device
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named
from refconv.tasks.task import Task

_BATCH = 16  # images of other tasks are large, or of many sizes


@dataclass(frozen=True)
class Examination:
    """Samples that models of one task are evaluated on.

    Attributes:
        task: the task.
        data: the data, cut to the samples that are taken.
        split: which of its splits.
        samples: how many samples that is.
        cut: whether the split has more.
        device: where to compute.
    """

    task: Task
    data: Data
    split: Split
    samples: int
    cut: bool
    device: torch.device

    def scores(self, before: nn.Module, after: nn.Module) -> dict[str, Scores]:
        """Evaluate two models; return their scores as ``before`` and ``after``.

        Args:
            before: the earlier model; moved to the device.
            after: the later.

        Raises:
            ModelError: if one does not fit the data.
        """
        return {"before": self._of(before), "after": self._of(after)}

    def _of(self, model: nn.Module) -> Scores:
        found = self.task.evaluate(model.to(self.device), self.data, self.split, batch_size=_BATCH, device=self.device)
        return Scores(self.task.name, self.samples, self.cut, found.measures(), found.classes())


def open_examination(
    opened: tuple[Opened, Opened],
    name: str,
    *,
    root: str | None = None,
    class_map: str | None = None,
    split: str = "test",
    samples: int | None = None,
    device: str | None = None,
) -> Examination:
    """Open data to evaluate two models on.

    Args:
        opened: the models, plain, the earlier first.
        name: the data, opened as the later model was trained.
        root: folder of the data.
        class_map: a file that says which class of the models each folder belongs to.
        split: ``train``, ``val`` or ``test``; training samples are not augmented.
        samples: how many are drawn from the split; by default all are taken.
        device: where to compute; by default the best there is.

    Raises:
        SettingError: if the models are for different tasks.
        DataError: if the data cannot be had.
    """
    first, second = opened
    if first.task != second.task:
        raise SettingError("the models are for different tasks", where="--data", expected=second.task, found=first.task)
    part = cast(Split, split)
    data = data_for(second, name, root=root, class_map=class_map)
    drawn, order, cut = in_drawn_order(data, part, samples)
    return Examination(task_named(second.task), drawn, part, len(order), cut, choose_device(device))
