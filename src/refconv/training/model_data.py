"""Input for a model that was opened: data prepared as in its training, or random numbers of the right shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv.errors import DataError
from refconv.training.data import Data, Samples
from refconv.training.opening import Opened
from refconv.training.tasks.registry import task_named


def data_for(opened: Opened, name: str | None = None, *, root: str | None = None, workers: int = 0) -> Data:
    """Open data with the size, channels and normalisation that a model was trained with.

    Args:
        opened: the model.
        name: the data; by default what its run was trained on.
        root: folder of the data.
        workers: processes that decode images.

    Raises:
        DataError: if no data is named, or it cannot be opened.
    """
    task = task_named(opened.task)
    return task.data_for(opened, name, root=root, workers=workers)


def random_input(opened: Opened, count: int) -> Samples:
    """Return random input for a model, the same each time: [count, *input_size], or a list of images for a detector.

    Raises:
        DataError: if the shape of its input is not known.
    """
    known: Mapping[str, Any] = opened.preprocessing or getattr(opened.model, "pretrained_cfg", {})
    size = known.get("input_size")
    if size is None and opened.recipe is not None:
        size = data_for(opened).info.input_size
    if size is None:
        raise DataError("the shape of the model's input is not known", where=opened.name, remedy="give --data")
    channels = opened.arguments.get("in_chans") or size[0]
    return task_named(opened.task).random_samples((count, channels, *size[1:]))


def first_samples(data: Data, count: int) -> Samples:
    """Return the first samples [count or fewer, *input_size] of the test split."""
    samples, _ = next(iter(data.eval_batches("test", batch_size=count)))
    return samples
