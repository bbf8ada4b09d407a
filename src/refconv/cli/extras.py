"""What is said where a package of an extra is not installed; the standard library suffices for it."""

from __future__ import annotations

import collections
import re
import sys
from collections.abc import Sequence

from refconv.errors import RefconvError

_NAMES = {
    "cka": "pytorch-cka", "PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn",
}  # fmt: skip
"""Packages that are imported by another name than they are installed by, apart from dashes."""

_EXTRA = re.compile(r"\s*([\w.-]+).*extra\s*==\s*['\"](\w+)['\"]")
STOPPED = "refconv: stopped; files are whole, and the same command starts again"
"""What is said at a signal where no run has begun."""

ABOUT = "Retrain a ConvNet through its own kernels, and get the same network back with better weights."


def not_installed(error: ModuleNotFoundError) -> RefconvError | None:
    """Return the error for a package that an extra would bring; None if none does."""
    import importlib.metadata  # slow to import, and needed here alone

    module = (error.name or "").partition(".")[0]
    wanted = _normal(_NAMES.get(module, module))
    pairs = [m.groups() for line in importlib.metadata.requires("refconv") or () if (m := _EXTRA.match(line))]
    sizes = collections.Counter(extra for _, extra in pairs)
    extras = {extra for package, extra in pairs if _normal(package) == wanted} - {"dev", "docs"}
    if not extras:
        return None
    remedy = f"pip install 'refconv[{min(extras, key=lambda extra: (sizes[extra], extra))}]'"
    return RefconvError("not installed", where=_NAMES.get(module, module), remedy=remedy)


def without_commands(error: ModuleNotFoundError, arguments: Sequence[str] | None = None) -> int:
    """Stand in for ``refconv`` where the package that reads command lines is missing; return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    line = not_installed(error)
    if line is None:
        raise error
    if given in (["--help"], ["-h"], []):
        print(f"{ABOUT}\n\nThe commands need one more package: {line}")
        return 0
    print(f"refconv: error: {line}", file=sys.stderr)
    return 2


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")
