"""Everything between a decoded picture and the tensor that a network takes, resolved once for all commands."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from timm.data.constants import DEFAULT_CROP_PCT, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from refconv.errors import DataError, SettingError
from refconv.records import Record

IMAGE_MODES = {1: "L", 3: "RGB"}  #: PIL's mode by the number of channels
TARGET_SCALE = ("target_mean", "target_std")
BESIDE_TIMM = (*TARGET_SCALE, "sample_rate")  #: What config.json holds beside the names that timm knows
FLAGS, RECIPE = "flags", "recipe"  #: The sources that a user writes; what they say is taken as it is, or refused
MOST_OUTPUTS = 10**7  #: Classes, outputs or channels of any model
LONGEST = 10**6  #: Values along an axis of any image or sound
DEFAULT_SIZE = 224  # height and width of images whose size is not known
_MAJORITY = 0.9  # share of the images that must be squares of one size, for it to be the size of the input
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
_CROP_MODES = ("center", "squash", "border")
_MOST_CROP = 100


@dataclasses.dataclass(frozen=True)
class Statement:
    """What one source says about preprocessing.

    The values have timm's names: ``input_size`` [C, H, W] or [C, L] or, for a square, ``img_size``; ``mean``, ``std``,
    ``interpolation``, ``crop_pct``, ``crop_mode``; and ``color_mode``, ``target_mean``, ``target_std`` and
    ``sample_rate``, which timm does not have; ``test_input_size`` only for the warning about the size. Names that are
    missing or None are left to the next source.
    """

    by: str  # the source, as it is printed
    values: Mapping[str, Any]
    of_run: bool = False  # says how a run or a model folder was trained, and not what a library's weights take
    of_weights: bool = False  # says what a library's weights at hand take, and not what an architecture takes as a rule

    def __bool__(self) -> bool:
        return any(value is not None for value in self.values.values())


DEFAULT = "ImageNet's default"  #: Where nobody says it
GUESSED = (
    "guessed, and later commands follow it: give --data, in Python data, to take it from the data as eval does, or "
    "--img-size, --crop-pct, --mean, --std and --interpolation, in Python preprocessing"
)
"""What is said of such values behind their names."""

FAR = 2.0  #: Times by which a size that the user gives may differ from the model's, either way, without a warning

_IMAGENET = Statement(
    DEFAULT,
    {
        "img_size": DEFAULT_SIZE,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "interpolation": "bilinear",
        "crop_pct": DEFAULT_CROP_PCT,
        "crop_mode": "center",
    },
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing(Record):
    """How a decoded picture becomes the tensor that a network takes.

    Pictures are converted to ``color_mode``, resized to ``size / crop_pct``, of which the middle is kept, and
    normalised with ``mean`` and ``std``, by the operations of timm's evaluation transform.

    Example:
        >>> print(resolve([Statement("flags", {"img_size": 32, "mean": [0.5]})], in_chans=1))
        L, 32 x 32 px, mean 0.5 (flags); bilinear, center crop 0.875, std 0.226 (ImageNet's default)
    """

    input_size: tuple[int, ...]  # the shape of a tensor, [C, H, W], or [C, L] of a signal
    mean: tuple[float, ...]  # per channel, subtracted from values in [0, 1]
    std: tuple[float, ...]  # per channel, by which they are then divided
    interpolation: str  # bilinear, bicubic or another of PIL's
    crop_pct: float  # share of the resized picture's side that is kept
    crop_mode: str  # center resizes the shorter side, border the longer one and pads, squash both
    color_mode: str  # L, RGB or BGR; empty for signals
    sources: dict[str, str] = dataclasses.field(default_factory=dict)  # where each value came from, by its name
    target_mean: tuple[float, ...] = ()  # of regression, per output: subtracted from targets in training
    target_std: tuple[float, ...] = ()  # by which they are then divided
    sample_rate: int | None = None  # of sounds, in Hz
    far_from: str = ""  # the size that the model was made for, and who says so, where the user's is far from it

    @property
    def warning(self) -> str | None:
        """A line where the user's size is less than half of the one that the model was made for, or more than twice."""
        if not self.far_from:
            return None
        return (
            f"warning: images of {_in_words(self.size)} are far from what the model was made for, {self.far_from}, and "
            "it may do much worse on them: leave --img-size out, or give a size between half of that and twice as much"
        )

    @property
    def guesses(self) -> tuple[str, ...]:
        """The names of values that nobody said."""
        return tuple(name for name, source in self.sources.items() if source == DEFAULT)

    @property
    def in_chans(self) -> int:
        """The number of channels."""
        return self.input_size[0]

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, or the length of a signal."""
        return self.input_size[1:]

    def check(self, *, where: str) -> None:
        """Check the values, which may come from a file.

        Raises:
            SettingError: if one is impossible.
        """
        for name, known in (("interpolation", _INTERPOLATIONS), ("crop_mode", _CROP_MODES)):
            if getattr(self, name) not in known:
                raise SettingError("unknown", where=name, expected=", ".join(known), found=repr(getattr(self, name)))
        if not 0 < self.crop_pct < _MOST_CROP:  # timm's VOLO has 1.15
            raise SettingError(
                "out of range", where="crop_pct", expected=f"between 0 and {_MOST_CROP}", found=str(self.crop_pct)
            )
        if not all(0 < value < math.inf for value in self.std):
            raise SettingError("not a standard deviation", where="std", expected="more than 0", found=str(self.std))
        if not all(math.isfinite(value) for value in self.mean):
            raise SettingError("not a mean", where="mean", expected="finite numbers", found=str(self.mean))
        if not self.input_size or not all(1 <= side <= LONGEST for side in self.input_size):
            expected = f"[channels, height, width] or [channels, length], each from 1 to {LONGEST}"
            raise SettingError("no shape of an input", where=where, expected=expected, found=str(list(self.input_size)))

    def as_pretrained_cfg(self) -> dict[str, Any]:
        """Return the values under timm's names, as ``pretrained_cfg`` has them."""
        left_out = {"sources", "far_from", *([] if self.color_mode == "BGR" else ["color_mode"])}
        left_out |= set() if self.target_std else set(TARGET_SCALE)
        left_out |= set() if self.sample_rate else {"sample_rate"}
        return {name: value for name, value in self.to_dict().items() if name not in left_out}

    def __str__(self) -> str:
        normalised = any(self.mean) or any(value != 1 for value in self.std)
        words = {
            "input_size": _in_words(self.size),
            "sample_rate": f"{self.sample_rate} Hz" if self.sample_rate else "",
            "interpolation": self.interpolation,
            "crop_pct": "whole" if self.crop_pct == 1 else f"{self.crop_mode} crop {self.crop_pct:.4g}",
            "crop_mode": "" if self.crop_mode == "center" or self.crop_pct != 1 else self.crop_mode,
            "mean": f"mean {_numbers(self.mean)}" if normalised else "not normalised",
            "std": f"std {_numbers(self.std)}" if normalised else "",
        }
        by_source: dict[str, list[str]] = {}
        for name, text in words.items():
            if text:
                by_source.setdefault(self.sources.get(name, ""), []).append(text)
        groups = [", ".join(texts) + (f" ({source})" if source else "") for source, texts in by_source.items()]
        return ", ".join([*([self.color_mode] if self.color_mode else []), "; ".join(groups)])


def resolve(statements: Sequence[Statement], *, in_chans: int, where: str = "preprocessing") -> Preprocessing:
    """Choose each value from the first source that states it; ImageNet's defaults come last.

    The order of precedence is that of ``statements``, everywhere: flags, recipe, the model, the data. One number of a
    mean or standard deviation is taken for all channels; the three of a model that is now given grey images are
    averaged. ``where`` names the data in messages.

    Raises:
        DataError: if there are neither one nor as many numbers as channels.
        SettingError: if a value is impossible.
    """
    order = [*statements, _IMAGENET]
    size, sized_by = next(_sizes(order))
    found: dict[str, Any] = {}
    sources = {"input_size": sized_by}
    for name in ("mean", "std", "interpolation", "crop_pct", "crop_mode"):
        source = next(said for said in order if said.values.get(name) is not None)
        found[name], sources[name] = source.values[name], source.by
        if name in {"mean", "std"}:
            exact = source.by in {FLAGS, RECIPE}
            found[name] = _fitted(found[name], in_chans, where=f"{name} of {where}", exact=exact)
            if name == "mean" and exact and len(size) == 2 and max(found[name]) > 1:
                expected, remedy = "numbers for values from 0 to 1", "divide mean and std by 255"
                values = _numbers(found[name])
                raise SettingError("out of range", where=name, expected=expected, found=values, remedy=remedy)
    colour = next((said.values["color_mode"] for said in order if said.values.get("color_mode")), None)
    mode = colour if in_chans == 3 and colour else IMAGE_MODES.get(in_chans, "") if len(size) == 2 else ""
    found["crop_pct"] = float(found["crop_pct"])
    for name in TARGET_SCALE:
        found[name] = tuple(next((said.values[name] for said in order if said.values.get(name)), ()))
    rate = next((said for said in order if said.values.get("sample_rate")), None)
    if rate is not None:
        found["sample_rate"], sources["sample_rate"] = rate.values["sample_rate"], rate.by
    far = _far_from(size, order) if sized_by == FLAGS else ""
    made = Preprocessing(input_size=(in_chans, *size), color_mode=mode, sources=sources, far_from=far, **found)
    made.check(where=f"input of {where}")
    return made


def common_size(sizes: Iterable[tuple[int, int]]) -> Statement:
    """Return the size of images, if nine in ten or more of them are squares of one size; else nothing is stated."""
    counts = Counter(sizes)
    ((width, height), same), *_ = counts.most_common(1) or [((0, 1), 0)]
    seen = counts.total()
    if width != height or same < _MAJORITY * seen:
        return Statement("size of the images", {})
    few = "" if same == seen else f", as {same} of the {seen} looked at"
    return Statement(f"size of the images{few}", {"img_size": width})


def stated_size(statements: Sequence[Statement]) -> tuple[int, ...] | None:
    """Return the size that the first source states which states one: [H, W], or [L] of signals; None if none does."""
    return next((size for size, _ in _sizes(statements)), None)


def says(statements: Sequence[Statement], name: str) -> bool:
    """Return whether any source states a value."""
    return any(said.values.get(name) is not None for said in statements)


def _far_from(size: tuple[int, ...], statements: Sequence[Statement]) -> str:
    """Return the size that the weights at hand were trained on, and who says so, if it is far from another size."""
    trained = (said for said in statements if (said.of_run or said.of_weights) and stated_size([said]))
    if (said := next(trained, None)) is None:
        return ""
    own, by = next(_sizes([said]))
    tested = tuple(said.values.get("test_input_size") or ())[1:] or own  # timm's size for evaluation
    near = len(own) != len(size) or all(
        low / FAR <= side <= FAR * max(low, high) for side, low, high in zip(size, own, tested, strict=True)
    )
    return "" if near else f"{_in_words(own)} ({by})"


def _in_words(size: Sequence[int]) -> str:
    return " x ".join(map(str, size)) + (" px" if len(size) == 2 else "")


def _sizes(statements: Sequence[Statement]) -> Iterator[tuple[tuple[int, ...], str]]:
    for said in statements:
        side, shape = said.values.get("img_size"), said.values.get("input_size")
        if side is not None:
            yield (int(side), int(side)), said.by
        elif shape is not None:
            yield tuple(int(length) for length in shape[1:]), said.by


def _fitted(values: Any, in_chans: int, *, where: str, exact: bool) -> tuple[float, ...]:
    """Return one value per channel: a single one is repeated, and another number of them averaged unless ``exact``."""
    given = tuple(float(value) for value in (values if isinstance(values, (list, tuple)) else (values,)))
    if len(given) not in {1, in_chans} and given and not exact:
        given = (round(sum(given) / len(given), 4),)
    if len(given) not in {1, in_chans}:
        expected = f"1 or {in_chans}, one per channel"
        raise DataError("wrong number of values", where=where, expected=expected, found=str(len(given)))
    return given * in_chans if len(given) == 1 else given


def _numbers(values: Sequence[float]) -> str:
    distinct = values[:1] if len(set(values)) == 1 else values
    return " ".join(f"{value:.4g}" for value in distinct)
