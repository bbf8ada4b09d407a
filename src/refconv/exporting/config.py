"""What is to be exported: format and options, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from refconv.errors import SettingError
from refconv.models.exported import SUFFIXES
from refconv.models.run_folder import check_unused

HUB = "hub"
FORMATS = {name: suffix for suffix, name in SUFFIXES.items()}
"""The formats of single files, with what their names end in; :data:`HUB` is a folder."""

_OF_ONNX = "is for the format onnx"
_BY_USERS = "has no effect on the format hub"
_REFUSED: dict[tuple[str, str], tuple[str, str | None]] = {
    **{(name, other): (_OF_ONNX, None) for name in ("int8", "opset") for other in (*FORMATS, HUB) if other != "onnx"},
    ("dynamic_size", HUB): (_BY_USERS, "timm's networks take the sizes that their layers take"),
    ("half", HUB): (_BY_USERS, "the weights stay as trained; load them, then call model.half()"),
    ("softmax", HUB): (_BY_USERS, "transformers' pipeline gives probabilities, timm logits"),
    ("with_preprocessing", HUB): (_BY_USERS, "timm's transform and transformers' pipeline prepare images"),
}
"""Options that a format has no use for, with the reason and what to do instead."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The options of an export.

    Raises:
        SettingError: if an option has no meaning, or no effect on the format.
    """

    format: str = "onnx"  #: one of :data:`FORMATS`, or ``hub``
    dynamic_size: bool = False  #: height and width are free, as the batch size always is
    opset: int | None = None  #: version of ONNX's operators; by default that of torch's exporter
    half: bool = False  #: weights and arithmetic in float16; inputs and outputs stay float32
    int8: bool = False  #: static quantisation, calibrated on training images; onnx only
    calibration: int = 256  #: how many training images calibrate the quantisation
    with_preprocessing: bool = False  #: takes bytes [batch, H, W, C] in RGB, and normalises them inside
    softmax: bool = False  #: gives probabilities in place of logits
    force: bool = False  #: replaces an existing file or folder, and adds a commit to a repository that exists

    def __post_init__(self) -> None:
        if self.format not in {*FORMATS, HUB}:
            expected = ", ".join((*FORMATS, HUB))
            raise SettingError("unknown format", where="format", expected=expected, found=repr(self.format))
        if self.int8 and self.half:
            raise SettingError("cannot be combined with half", where="int8", remedy="leave one of them out")
        for (name, kind), (what, remedy) in _REFUSED.items():
            if kind == self.format and getattr(self, name):
                raise SettingError(what, where=name, found=f"format {self.format}", remedy=remedy)
        if self.calibration < 1:
            raise SettingError("out of range", where="calibration", expected="at least 1", found=str(self.calibration))

    @classmethod
    def for_file(cls, out: Path, *, format: str | None = None, **options: object) -> ExportConfig:  # noqa: A002  # the word for it
        """Return the options for a file, whose name says the format where nothing else does.

        Raises:
            SettingError: if an option has no meaning, or the name is of another format.
            RunError: if the file exists, and is not to be replaced.
        """
        config = cls._named(out, format, options)
        check_unused(out, force=config.force)
        return config

    @classmethod
    def _named(cls, out: Path, format: str | None, options: Mapping[str, object]) -> ExportConfig:  # noqa: A002  # the word for it
        if strange := [name for name in options if name not in cls.__dataclass_fields__]:
            expected = ", ".join(cls.__dataclass_fields__)
            raise SettingError("unknown option", where=strange[0], expected=expected)
        if format == HUB:
            return cls(format=HUB, **options)  # type: ignore[arg-type]  # checked by the class
        named = SUFFIXES.get(out.suffix)
        config = cls(format=format or named or "onnx", **options)  # type: ignore[arg-type]  # checked by the class
        if named != config.format:
            ends = [FORMATS[config.format]] if format else FORMATS.values()
            expected = f"a name that ends in {' or '.join(ends)}"
            raise SettingError("not a name for this format", where=str(out), expected=expected, found=out.name)
        return config
