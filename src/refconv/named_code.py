"""Who may name code to run: the user, and a file only where the user trusts it.

Models, data, losses and methods may be named as ``module:function``, which is then imported and called. A name that the
user gives, on the command line, in Python, or in a recipe or study passed by name, is followed. A name inside a run, a
model folder or a checkpoint is somebody's who wrote that file: it is followed if it was also named by the user, or
trusted by :func:`trust` or the flag ``--trust``, and refused otherwise, before anything is imported. A file that is a
program itself is opened only where everything is trusted.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from refconv.errors import SettingError, TrustError

SOURCES = frozenset((
    "torchvision", "local-dir", "hf-hub", "detector", "smp", "spandrel",
    "folder", "table", "arrays", "hf", "wds", "scenes", "coco", "voc", "masks", "cityscapes", "images", "photographs",
))  # fmt: skip
"""Words before a colon that name no module of the user's."""

_OURS = re.compile(
    r"refconv\.(models|training)\.(networks|detectors|segmenters|restorers|detection_heads):[a-z]\w*"
    r"|refconv\.improvement\.handed_over:\w+"
)
_MODULE = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_CODE = re.compile(rf"{_MODULE}:[^\W\d]\w*(\.\w+)*")

_trusted: set[str] = set()  #: Names that the user gave: modules, and functions of modules
_ALL = ":"  #: Among them where everything is trusted; no name of code


def names_code(name: str | None) -> bool:
    """Say whether a setting names code of the user's.

    Example:
        >>> [names_code(name) for name in ("my_nets:small", "folder:birds", "resnet18")]
        [True, False, False]
    """
    if name is None or name.partition(":")[0] in SOURCES or _OURS.fullmatch(name):
        return False
    return bool(_CODE.fullmatch(name))


def trust(*names: str) -> None:
    """Let files name these modules, or functions as ``module:function``, from now on; without any, every one.

    Only do this for files of people whose programs you would run.

    Raises:
        SettingError: if a name is none that a module or function can have.

    Example:
        >>> trust("my_nets")
        >>> check_trusted(["my_nets:small"], where="runs/one")
    """
    for name in names:
        if not (isinstance(name, str) and (re.fullmatch(_MODULE, name) or _CODE.fullmatch(name))):
            expected = "a module such as my_nets, or a function such as my_nets:small"
            raise SettingError("not a name of code", where="trust", expected=expected, found=repr(name))
    _trusted.update(names or [_ALL])


def check_trusted(names: Iterable[str | None], *, where: str) -> None:
    """Refuse a file that names code which the user neither named nor trusts.

    Raises:
        TrustError: naming the code.
    """
    unknown = [name for name in names if name is not None and names_code(name) and not _is_trusted(name)]
    if unknown and _ALL not in _trusted:
        modules = ", ".join(dict.fromkeys(name.partition(":")[0] for name in unknown))
        remedy = f"if you know who wrote it: --trust, or in Python refconv.trust('{modules}')"
        what = "refused, because it would run code that you have not named"
        raise TrustError(what, where=where, found=", ".join(dict.fromkeys(unknown)), remedy=remedy)


def check_trusted_program(path: Path, kind: str) -> None:
    """Refuse a file that is a program, unless everything is trusted: its author wrote what happens when it is run.

    Raises:
        TrustError: naming the file.
    """
    if _ALL not in _trusted:
        remedy = "if you know who wrote it: --trust, or in Python refconv.trust(); an .onnx file needs neither"
        raise TrustError(f"refused, because a {kind} file is a program", where=str(path), remedy=remedy)


def _is_trusted(name: str) -> bool:
    module = name.partition(":")[0]
    parts = module.split(".")
    return bool(_trusted & {name, *(".".join(parts[:count]) for count in range(1, len(parts) + 1))})


def trusted() -> frozenset[str]:
    """Return what is trusted now, for another process, which takes it by :func:`inherit`."""
    return frozenset(_trusted)


def inherit(names: frozenset[str]) -> None:
    """Trust what the process trusted that gave this one its work."""
    _trusted.update(names)


_running: list[str] = []  #: Code that the recipe of the run names which is trained now


@contextlib.contextmanager
def running(names: Iterable[str]) -> Iterator[None]:
    """Let hints about the run within the block say that it names this code."""
    before = list(_running)
    _running[:] = names
    try:
        yield
    finally:
        _running[:] = before


def resuming() -> str:
    """Return the flags that let the run that is trained now go on later: its folder names the code that it was given.

    Example:
        >>> resuming()
        '--resume'
        >>> with running(["my_nets:small"]):
        ...     resuming()
        '--resume --trust'
    """
    return "--resume --trust" if _running else "--resume"


@contextlib.contextmanager
def trusting(everything: bool) -> Iterator[None]:
    """Trust every name within the block, if asked to, and forget there what was named before it."""
    before = set(_trusted)
    if everything:
        trust()
    try:
        yield
    finally:
        _trusted.clear()
        _trusted.update(before)
