"""Data on which two models are analysed: samples of a split, drawn once, and training samples for statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from refconv.analysis.batches import Batch
from refconv.analysis.kept_batches import KeptBatches
from refconv.analysis.registry import OF_IMAGES, RECALIBRATED, EvalData
from refconv.data import Data, Split
from refconv.data.dataset import in_drawn_order
from refconv.errors import SettingError
from refconv.models.opening import Opened
from refconv.process.distributed import choose_device
from refconv.tasks.model_data import data_for

_BATCH = 128
_NUMBERS = 2**22  # of the samples of a batch: measures that differentiate twice keep many times as much
_CALIBRATION = 1024
"""Training samples that batch-norm statistics are collected on."""


def open_evidence(
    opened: tuple[Opened, Opened],
    name: str,
    *,
    root: str | None = None,
    class_map: str | None = None,
    split: str = "test",
    samples: int | None = None,
    seconds: float | None = None,
    device: str | None = None,
) -> tuple[EvalData, Mapping[str, str], Data]:
    """Open data for two classifiers, which are moved to the device.

    Samples come in an order drawn once: data sets on a disk are sorted by class, and the first samples would be those
    of a few classes.

    Args:
        opened: the models, plain, the earlier first.
        name: the data.
        root: folder of the data.
        class_map: a file that says which class of the models each folder belongs to.
        split: ``train``, ``val`` or ``test``.
        samples: samples that a measure takes at most.
        seconds: time that a measure takes at most, about.
        device: where to compute; by default the best there is.

    Returns:
        What measures are given, the measures that the data does not allow with the reason, and the data.

    Raises:
        SettingError: if a model is no classifier.
        DataError: if the data cannot be had.
    """
    for side in opened:
        if side.task != "classification":
            raise SettingError(
                "measures with data are for classifiers",
                where="--data",
                found=f"a model for {side.task}",
                remedy="leave --data out: measures of weights work for every task",
            )
    place = choose_device(device)
    for side in opened:
        side.model.to(place)
    known = next((side for side in reversed(opened) if side.preprocessing), opened[1])
    data = data_for(known, name, root=root, class_map=class_map)
    batch_size = max(8, min(_BATCH, _NUMBERS // math.prod(data.info.input_size)))

    def batches(drawn: Data, part: Split, most: int | None = None) -> Callable[[], Iterator[Batch]]:
        def through() -> Iterator[Batch]:
            for number, (inputs, labels) in enumerate(drawn.eval_batches(part, batch_size=batch_size)):
                if most is not None and number * batch_size >= most:
                    return
                yield inputs.to(place), labels.to(place)

        return KeptBatches(through)

    part = cast(Split, split)
    drawn, order, _ = in_drawn_order(data, part)
    evidence = EvalData(
        batches=batches(drawn, part),
        training=batches(in_drawn_order(data, "train")[0], "train", _CALIBRATION),
        mean=data.info.mean,
        std=data.info.std,
        max_samples=samples,
        max_seconds=seconds,
        order=order,
    )
    size = data.info.input_size
    reason = f"it needs images [channels, height, width], and these samples are {list(size)}"
    impossible = {} if len(size) == 3 else dict.fromkeys(OF_IMAGES, reason)
    if not data.info.train_size:
        impossible |= dict.fromkeys(RECALIBRATED, "it needs training samples, and this data has none")
    return evidence, impossible, data
