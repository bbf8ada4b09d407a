"""Configurations: the settings of refocusing and what those of all kernel transformations share, without torch."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypedDict, TypeVar

from refconv.errors import SettingError, did_you_mean
from refconv.records import type_hints

Order = Literal["contiguous", "across", "layer", "filters"]
Start = Literal["zeros", "kaiming"]
Zeros = Literal["fill", "keep"]
Scale = Literal["capped", "normalized", "paper"]
Pattern = str | re.Pattern[str]
Selection = Pattern | Iterable[Pattern] | None

Limit = float | None
Check = Callable[[str, Any], Any] | None
Config = TypeVar("Config", bound="TransformConfig")

_SELECTION = ("include", "exclude")
_UNSET = object()
_RENAMED = {"normalize": "scale = normalized in place of normalize = true, scale = paper in place of false"}


def checked_patterns(name: str, selection: Selection) -> tuple[Pattern, ...] | None:
    """Return a selection of layers, the setting ``name``, as a tuple of its patterns."""
    if selection is None:
        return None
    single = isinstance(selection, (str, re.Pattern)) or not isinstance(selection, Iterable)
    patterns = (selection,) if single else tuple(typing.cast("Iterable[Any]", selection))
    for pattern in patterns:
        if not isinstance(pattern, (str, re.Pattern)):
            expected = "a kind, a glob or a regular expression"
            raise SettingError("not a pattern", where=name, expected=expected, found=repr(pattern))
        if isinstance(pattern, str) and pattern.startswith("re:"):
            try:
                re.compile(pattern.removeprefix("re:"))
            except re.error as error:
                raise SettingError(f"{pattern!r} is no regular expression", where=name, found=str(error)) from error
    return patterns


def checked_map_size(name: str, size: int | Sequence[int]) -> int | tuple[int, ...]:
    """Return the taps of a refocusing map, the setting ``name``: one odd number for all dimensions, or one for each."""
    sizes = tuple(size) if isinstance(size, Sequence) else (size,)
    if not sizes or not all(type(taps) is int and taps > 0 and taps % 2 == 1 for taps in sizes):
        found = " x ".join(map(repr, sizes))
        raise SettingError("a map needs a centre", where=name, expected="odd positive numbers", found=found)
    return sizes if isinstance(size, Sequence) else size


def setting(
    text: str, default: Any, *, least: Limit = None, above: Limit = None, check: Check = None, recipe: str | None = None
) -> Any:
    """Declare one field of a configuration, with one line of help; its type says the rest.

    ``check`` returns a value in its final form; ``recipe`` is what recipes and flags call the setting.
    """
    about = {"help": text, "least": least, "above": above, "check": check, "recipe": recipe}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """What the configurations of all kernel transformations share: the selection of layers.

    Values are checked when a configuration is made, and brought to a form that can be compared and hashed.

    Raises:
        SettingError: if a value is out of its range.
    """

    method: ClassVar[str]  #: Name of the transformation
    #: Values that files do not say, since there was no choice when the first were written
    unsaid: ClassVar[dict[str, Any]] = {"zeros": "fill"}

    include: Selection = setting("only layers that match a pattern or kind", None, check=checked_patterns)
    exclude: Selection = setting("no layer that matches a pattern or kind", None, check=checked_patterns)
    zeros: Zeros = setting("entries of kernels that are zero, as of a pruned network: filled, or kept at zero", "fill")

    def __init_subclass__(cls, method: str | None = None) -> None:
        if method is not None:
            cls.method = method

    def __new__(cls: type[Config], **settings: Any) -> Config:
        """Refuse unknown settings by name; the generated ``__init__`` does not say which there are."""
        known = sorted((field.name for field in dataclasses.fields(cls)), key=(*_SELECTION, "zeros").__contains__)
        for name in settings:
            if name not in known:
                expected, remedy = f"one of {', '.join(known)}", _RENAMED.get(name, did_you_mean(name, known))
                raise SettingError(f"{cls.method} has no such setting", where=name, expected=expected, remedy=remedy)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, hints[field.name], getattr(self, field.name)))

    @property
    def one_tap(self) -> bool:
        """Whether kernels of one tap are changed too where no selection says which."""
        return False

    @classmethod
    def of(cls: type[Config], config: TransformConfig | None, settings: Mapping[str, Any]) -> Config:
        """Return the configuration that was given, or make one of single settings."""
        if config is None:
            return cls(**settings)
        if type(config) is not cls:
            what, found = "not a configuration of this method", type(config).__name__
            remedy = "refconv.reparametrize takes those of other methods" if cls.method == "refocus" else None
            raise SettingError(what, where="config", expected=cls.__name__, found=found, remedy=remedy)
        if settings:
            names, expected = ", ".join(settings), "a configuration or single settings"
            remedy = f"put {names} into the configuration"
            raise SettingError(f"given together with {names}", where="config", expected=expected, remedy=remedy)
        return config

    def settings(self) -> dict[str, Any]:
        """Return what, beside the base and the trained numbers, determines the kernel: neither selection nor start.

        Values are left out that are :attr:`unsaid`.
        """
        said = {name: value for name, value in vars(self).items() if name not in {*_SELECTION, "start"}}
        return {name: value for name, value in said.items() if self.unsaid.get(name, _UNSET) != value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GramConfig(TransformConfig):
    """What configurations share whose transformations go by the Gram of refocusing; see :class:`RefocusConfig`."""

    map_size: int | Sequence[int] = setting(
        "taps of the map, one number or one per dimension", 3, least=1, check=checked_map_size
    )
    order: Order = setting("how slices form blocks", "contiguous")
    scale: Scale = setting(
        "speed of the kernels; capped at that of plain training, normalized, or as in the paper",
        "capped",
        recipe="gram_scale",
    )
    power: float = setting("power of the Gram; 1 is RefConv, below 0 needs damping", 1.0, least=-1)
    damping: float = setting("added to every eigenvalue of the Gram, as a multiple of their mean", 0.0, least=0)

    unsaid: ClassVar[dict[str, Any]] = {**TransformConfig.unsaid, "damping": 0.0}

    @property
    def one_tap(self) -> bool:
        """Whether kernels are related that have no others of their own size: those of filters."""
        return self.order == "filters"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power < 0 and self.damping == 0:
            what = "a negative power divides by eigenvalues of the Gram, which may be zero"
            expected, found = "damping above 0", f"power={self.power:g} with damping=0"
            raise SettingError(what, where="power", expected=expected, found=found, remedy="damping=0.1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefocusConfig(GramConfig, method="refocus"):
    """The settings of refocusing; its functions take one, or its fields as single keyword arguments.

    Args:
        map_size: odd taps of the refocusing map, one number or one per spatial dimension; cut to what small kernels
            allow.
        order: how slices are gathered into blocks: ``contiguous`` as released, or ``across`` the groups, which differ
            where 1 < groups < channels; ``layer``, all slices of a layer together; ``filters``, the filters of a layer,
            each as a whole, by a map of one tap.
        start: of the refocus weight: ``zeros``, so that training starts from exactly the pretrained function, or
            ``kaiming`` as released.
        scale: how far a step on the refocus weight moves the kernel. ``capped``: no faster than a step of plain
            training at the same learning rate, under SGD and Adam alike; ``normalized``: the mean eigenvalue of each
            block's Gram is one; ``paper``: as released, which moves depthwise kernels hundreds of times as fast.
        power: of the Gram that gradients meet; 1 is RefConv, 0 plain training towards the base, below zero (down to -1)
            training against the patterns that the pretrained kernels share, which needs damping.
        damping: what is added to every eigenvalue of the Gram, as a multiple of their mean; 0 is RefConv. It mixes
            refocusing with plain training, and reaches directions that the base does not span.
        include: kinds, globs or regular expressions of the layers to refocus; by default every convolution whose
            kernel has more than one tap, and with ``order="filters"`` pointwise ones too. See
            :func:`refconv.layers.select`.
        exclude: the same for layers to leave out.
        zeros: ``fill``, or ``keep`` the entries of the base that are zero at zero, as for pruned networks.

    Raises:
        SettingError: if a value is out of its range.

    Example:
        >>> config = RefocusConfig(scale="normalized", include="depthwise")
        >>> config.map_size, config.scale, config.include
        (3, 'normalized', ('depthwise',))
        >>> import dataclasses
        >>> dataclasses.replace(config, map_size=4)
        Traceback (most recent call last):
        refconv.errors.SettingError: map_size: a map needs a centre; expected odd positive numbers, found 4
    """

    start: Start = setting("first refocus weights", "zeros")


class RefocusSettings(TypedDict, total=False):
    """The fields of :class:`RefocusConfig` as single keyword arguments; see there."""

    map_size: int | Sequence[int]
    order: Order
    start: Start
    scale: Scale
    power: float
    damping: float
    include: Selection
    exclude: Selection
    zeros: Zeros


FIELDS = {field.name: field.metadata["recipe"] or field.name for field in dataclasses.fields(RefocusConfig)}
"""What recipes and flags call the settings of refocusing; timm's ``scale`` is that of crops."""


def _checked(field: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """Return the value of a field in its final form."""
    name, about = field.name, field.metadata
    if about["check"]:
        return about["check"](name, value)
    if hint not in {int, float}:
        words = typing.get_args(hint)
        if value not in words:
            raise SettingError(f"unknown {name}", where=name, expected=" or ".join(words), found=repr(value))
        return value
    least, above = about["least"], about["above"]
    number = isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    if number and value < float("inf") and (least is None or value >= least) and (above is None or value > above):
        return hint(value)
    limit = f"of at least {least}" if above is None else f"above {above}"
    kind = "a whole number" if hint is int else "a number"
    raise SettingError("value out of range", where=name, expected=f"{kind} {limit}", found=repr(value))
