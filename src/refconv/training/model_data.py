"""Input for a model that was opened: data prepared as in its training, or random numbers of the right shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refconv.errors import DataError
from refconv.training.data import Augmentation, Data, open_data
from refconv.training.data.sources import SOURCES
from refconv.training.opening import Opened


def data_for(
    opened: Opened, name: str | None = None, *, root: str | None = None, img_size: int | None = None, workers: int = 0
) -> Data:
    """Open data with the size, channels and normalisation that a model was trained with.

    Args:
        opened: the model.
        name: the data; by default what its run was trained on.
        root: folder of the data.
        img_size: image side, instead of the one in training.
        workers: processes that decode images.

    Raises:
        DataError: if no data is named, or it cannot be opened.
    """
    recipe = opened.recipe
    if name is None and recipe is None:
        raise DataError("no data named", where="data", remedy="give --data")
    known: dict[str, Any] = dict(opened.preprocessing)
    if recipe is not None:
        for key in ("mean", "std", "interpolation", "crop_pct", "img_size"):
            if getattr(recipe, key) is not None:
                known[key] = getattr(recipe, key)
    size = known.get("input_size", ())
    own = recipe if recipe is not None and name in {None, recipe.data} else None
    chosen = name or (recipe.data if recipe is not None else "")
    # Samples in memory are taken whole; images on disk are cropped as the model's own were.
    crop_pct = None if chosen in SOURCES else known.get("crop_pct")
    interpolation = known.get("interpolation", "bilinear")
    return open_data(
        chosen,
        root=root or (own.data_dir if own is not None else None),
        val_split=own.val_split if own is not None else 0.0,
        augmentation=Augmentation(
            interpolation="bilinear" if interpolation == "random" else interpolation, crop_pct=crop_pct
        ),
        workers=workers,
        in_chans=opened.arguments.get("in_chans"),
        img_size=img_size or known.get("img_size") or (size[-1] if len(size) == 3 else None),
        mean=_numbers(known.get("mean")),
        std=_numbers(known.get("std")),
    )


def random_input(opened: Opened, count: int) -> Tensor:
    """Return random input [count, *input_size] for a model, the same each time.

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
    return torch.randn(count, channels, *size[1:], generator=torch.Generator().manual_seed(0))


def first_samples(data: Data, count: int) -> Tensor:
    """Return the first samples [count or fewer, *input_size] of the test split."""
    samples, _ = next(iter(data.eval_batches("test", batch_size=count)))
    return samples


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
