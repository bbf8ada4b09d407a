"""Data on which two models are analysed: batches of a split that can be gone through again, and training batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from refconv.analysis.batches import Batch
from refconv.analysis.registry import DATA_MEASURES, OF_IMAGES, Evidence
from refconv.errors import SettingError
from refconv.training.data import Data, Split
from refconv.training.distributed import choose_device
from refconv.training.model_data import data_for
from refconv.training.opening import Opened

_BATCH = 128
_CALIBRATION_BATCHES = 8
"""Training batches that batch-norm statistics are collected on."""


def open_evidence(
    opened: tuple[Opened, Opened],
    name: str,
    *,
    root: str | None = None,
    split: str = "test",
    samples: int | None = None,
    device: str | None = None,
) -> tuple[Evidence, tuple[str, ...]]:
    """Open data for two classifiers, which are moved to the device.

    Args:
        opened: the models, plain, the earlier first.
        name: the data.
        root: folder of the data.
        split: ``train``, ``val`` or ``test``.
        samples: samples that a measure takes at most.
        device: where to compute; by default the best there is.

    Returns:
        The data, and the names of the measures that it allows.

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
    data = data_for(known, name, root=root)

    def batches(part: Split, most: int | None = None) -> Callable[[], Iterator[Batch]]:
        def through() -> Iterator[Batch]:
            for number, (inputs, labels) in enumerate(data.eval_batches(part, batch_size=_BATCH)):
                if most is not None and number >= most:
                    return
                yield inputs.to(place), labels.to(place)

        return through

    evidence = Evidence(
        batches=batches(cast(Split, split)),
        training=batches("train", _CALIBRATION_BATCHES),
        mean=data.info.mean,
        std=data.info.std,
        max_samples=samples,
    )
    return evidence, tuple(name for name in DATA_MEASURES if name not in OF_IMAGES or _are_images(data))


def _are_images(data: Data) -> bool:
    return len(data.info.input_size) == 3
