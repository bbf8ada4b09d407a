"""Recipes and studies that come with the package: in a wheel beside the code, in a checkout at its top."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from refconv.errors import RecipeError, did_you_mean

Kind = Literal["recipes", "studies"]
_PACKAGE = Path(__file__).parents[1]


def shipped(kind: Kind) -> dict[str, Path]:
    """Return the files of a kind by their names, in order."""
    folders = (_PACKAGE / "shipped" / kind, _PACKAGE.parents[1] / kind)
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else {path.stem: path for path in sorted(found.glob("*.toml"))}


def resolved(path: Path, kind: Kind) -> Path:
    """Return a file, or the one that comes with the package where there is none and its name is that of one."""
    if path.exists() or str(path.parent) not in {".", kind}:
        return path
    return shipped(kind).get(path.name.removesuffix(".toml"), path)


def named(name: str) -> Path:
    """Return a recipe or study by name.

    Raises:
        RecipeError: if there is none of this name.
    """
    known = {f"{kind}/{stem}": path for kind in ("recipes", "studies") for stem, path in shipped(kind).items()}
    found = [path for key, path in known.items() if name.removesuffix(".toml") in {key, key.partition("/")[2]}]
    if not found:
        expected = did_you_mean(name.rpartition("/")[2], [key.partition("/")[2] for key in known])
        remedy = expected or "refconv recipes ls names them"
        raise RecipeError("no recipe or study of this name", where=name, remedy=remedy)
    return found[0]


def first_line(path: Path) -> str:
    """Return the first sentence of the comment that a file begins with."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line.strip() == "#":
            break
        comment.append(line.lstrip("# "))
    text = " ".join(comment)
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]
