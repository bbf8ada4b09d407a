"""What a program in Python gives with a network that is exported, checked before anything is written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.data.class_names import warn_of_doubles
from refconv.data.preprocessing import BESIDE_TIMM, Preprocessing, Statement
from refconv.errors import ModelError, SettingError, did_you_mean
from refconv.models.saving import UNCOUNTED
from refconv.tasks.task import Task

_NAMES = (
    "input_size", "img_size", "mean", "std", "interpolation", "crop_pct", "crop_mode", "color_mode", *BESIDE_TIMM,
)  # fmt: skip
_NUMBERS = ("img_size", "mean", "std", "crop_pct", *BESIDE_TIMM)


def checked_preprocessing(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values of ``preprocessing`` that are given.

    Raises:
        SettingError: if a name is unknown, or a value is not of the kind that the name has.
    """
    values = {name: value for name, value in (given or {}).items() if value is not None}
    for name, value in values.items():
        where = f"preprocessing[{name!r}]"
        if name not in _NAMES:
            raise SettingError("unknown", where=where, expected=", ".join(_NAMES), remedy=did_you_mean(name, _NAMES))
        if name == "input_size" and not _is_shape(value):
            expected = "[channels, height, width], or [channels, length] of signals"
            raise SettingError("not the shape of a sample", where=where, expected=expected, found=repr(value))
        several = isinstance(value, (list, tuple)) and name not in {"img_size", "crop_pct"}
        if name in _NUMBERS and not all(map(_is_number, value if several else (value,))):
            raise SettingError("not a number", where=where, found=repr(value))
    size = values.get("img_size", 1)
    if not isinstance(size, int) or size < 1:
        expected = "a positive number of pixels"
        raise SettingError("out of range", where="preprocessing['img_size']", expected=expected, found=repr(size))
    return values


def size_of_images(images: Any, *, takes_lists: bool) -> tuple[Statement, ...]:
    """Return what prepared images say about a network's input: the shape of the first one; nothing without images.

    Raises:
        SettingError: if they are not what a network takes: a tensor, or a list of them, of floating-point numbers.
    """
    if images is None:
        return ()
    expected = "a list of tensors [channels, height, width]" if takes_lists else "a tensor [batch, channels, ...]"
    found = type(images).__name__
    if not isinstance(images, Tensor) and not (takes_lists and isinstance(images, (list, tuple))):
        raise SettingError("not input of this network", where="images", expected=expected, found=found)
    strange = next((one for one in images if not isinstance(one, Tensor) or one.dim() < 2), None)
    if not len(images) or strange is not None:
        kind = f"shape {list(strange.shape)}" if isinstance(strange, Tensor) else type(strange).__name__
        found = f"{found} with one of {kind}" if len(images) else "none"
        found = f"shape {list(images.shape)}" if isinstance(images, Tensor) and len(images) else found
        raise SettingError("not input of this network", where="images", expected=expected, found=found)
    kinds = {str(image.dtype).removeprefix("torch.") for image in images if not image.is_floating_point()}
    if kinds:
        expected, remedy = "floating-point numbers, prepared as the network takes them", "scale and normalise them"
        raise SettingError("not prepared", where="images", expected=expected, found=", ".join(kinds), remedy=remedy)
    return (Statement("size of the given images", {"input_size": tuple(images[0].shape)}),)


@contextlib.contextmanager
def batches(images: Any, model: nn.Module) -> Iterator[None]:
    """Say of a tensor that a network does not take that its batch dimension is missing, where it looks like one sample.

    It has as many axes as a sample of the network's first convolution then, and its channels.

    Raises:
        SettingError: in place of what is raised inside.
    """
    try:
        yield
    except (ModelError, SettingError) as error:
        first = next((module for module in model.modules() if isinstance(module, _ConvNd)), None)
        shape = tuple(images.shape) if isinstance(images, Tensor) else ()
        if first is None or len(shape) != len(first.kernel_size) + 1 or shape[0] != first.in_channels:
            raise
        expected, found = "a tensor [batch, channels, ...]", f"shape {list(shape)}"
        what, remedy = "without a batch dimension", "give images[None], a batch of one"
        raise SettingError(what, where="images", expected=expected, found=found, remedy=remedy) from error


def check_size(images: Sequence[Tensor] | Tensor, used: Preprocessing, *, any_size: bool) -> None:
    """Check that images have the channels and, unless any will do, the height and width that a file takes.

    Raises:
        SettingError: if one has not.
    """
    for image in images:
        shape, expected = tuple(image.shape), used.input_size
        alike = len(shape) == len(expected) and shape[0] == expected[0] if any_size else shape == expected
        if not alike:
            what = "not of the size that the network takes" if not any_size else "not of the network's channels"
            remedy = f"resize them, or give preprocessing={{'input_size': {list(shape)}}}"
            raise SettingError(
                what, where="images", expected=str(list(expected)), found=str(list(shape)), remedy=remedy
            )


def check_class_names(names: Sequence[str], outputs: int | None, task: Task) -> None:
    """Check that there is a name for each output, where any are given.

    Raises:
        SettingError: if there are more or fewer, or the task has no classes.
    """
    if names and task.name in UNCOUNTED:
        raise SettingError("has no effect: there are no classes", where="class_names", found=task.name)
    if names and outputs and len(names) != outputs:
        found = f"{len(names)} names"
        raise SettingError("not a name for each output", where="class_names", expected=str(outputs), found=found)
    warn_of_doubles(names)


def _is_shape(value: Any) -> bool:
    lengths = value if isinstance(value, (list, tuple)) else ()
    return len(lengths) in {2, 3} and all(isinstance(length, int) and length > 0 for length in lengths)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
