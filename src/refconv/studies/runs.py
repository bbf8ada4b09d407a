"""The runs of a study: which there are, where they lie, and what each needs before it can start.

base/ARCHITECTURE/seed-N                            trained once, shared by all methods of a seed
selection/ARCHITECTURE/METHOD/SETTINGS/seed-N       read the validation split, never the test split
final/ARCHITECTURE/METHOD/SETTINGS/seed-N           with the chosen settings; read the test split once
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from refconv.errors import StudyError, did_you_mean
from refconv.recipe.recipe import Recipe
from refconv.studies.study import Architecture, Method, Study, recipe_errors_in

Kind = Literal["base", "selection", "final"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run; a base has no method and no point."""

    kind: Kind
    architecture: str
    method: str
    point: Mapping[str, Any]  # values of the settings in the method's grid
    recipe: Recipe
    folder: Path
    base: Path | None = None  # folder of the base that it goes on from, if that is trained here

    def __str__(self) -> str:
        what = f"{self.architecture}/{self.method}" if self.method else self.architecture
        values = f" {label(self.point)}" if self.point else ""
        return f"{self.kind} {what}{values} seed {self.recipe.seed}"


class Runs:
    """All runs of a study, or of the cells that match ``only``; the training samples are given per architecture."""

    def __init__(self, study: Study, out: Path, train_sizes: Mapping[str, int], only: str | None = None) -> None:
        self.study, self.out, self._train_sizes = study, out, train_sizes
        cells = {f"{a.name}/{m.name}": (a, m) for a, m in itertools.product(study.architectures, study.methods)}
        self.cells = [cell for name, cell in cells.items() if only is None or fnmatch.fnmatchcase(name, only)]
        if not self.cells:
            remedy = did_you_mean(only or "", cells)
            raise StudyError("matches nothing", where=f"--only {only}", expected=", ".join(cells), remedy=remedy)

    def bases(self) -> list[Run]:
        """Return the base of every architecture and seed that is needed, each once."""
        seeds: dict[str, set[int]] = {}
        for architecture, method in self.cells:
            if method.from_base and not architecture.base.given:
                wanted = (*(self.study.selection_seeds if len(method.points) > 1 else ()), *self.study.seeds)
                seeds.setdefault(architecture.name, set()).update(wanted)
        architectures = {architecture.name: architecture for architecture, _ in self.cells}
        return [self._base(architectures[name], seed) for name, numbers in seeds.items() for seed in sorted(numbers)]

    def selection(self, architecture: Architecture, method: Method) -> list[Run]:
        """Return the runs that choose the settings of a cell; none if there is nothing to choose."""
        pairs = itertools.product(method.points, self.study.selection_seeds) if len(method.points) > 1 else ()
        return [self._continuation("selection", architecture, method, point, seed) for point, seed in pairs]

    def final(self, architecture: Architecture, method: Method, point: Mapping[str, Any]) -> list[Run]:
        """Return the final runs of a cell with the chosen settings."""
        return [self._continuation("final", architecture, method, point, seed) for seed in self.study.seeds]

    def _base(self, architecture: Architecture, seed: int) -> Run:
        recipe = self.study.base_recipe(architecture, seed=seed)
        recipe = _lasting(recipe, self._epochs(architecture, recipe, architecture.base.samples), architecture)
        folder = self._base_folder(architecture, seed)
        return Run(kind="base", architecture=architecture.name, method="", point={}, recipe=recipe, folder=folder)

    def _base_folder(self, architecture: Architecture, seed: int) -> Path:
        return self.out / "base" / architecture.name / f"seed-{seed}"

    def _continuation(
        self, kind: Kind, architecture: Architecture, method: Method, point: Mapping[str, Any], seed: int
    ) -> Run:
        trained = method.from_base and not architecture.base.given
        base = self._base_folder(architecture, seed) if trained else None
        source = architecture.base.backbones
        backbone = source and str(classifier(Path(source), architecture.name, method.name, seed))
        weights = str(base / "model") if base else None
        recipe = self.study.recipe(
            architecture, method, point, seed=seed, backbone=backbone, base=weights, test=kind == "final"
        )
        epochs = self._epochs(architecture, recipe, architecture.samples)
        if not method.from_base:
            epochs += self._epochs(architecture, recipe, architecture.base.samples)
        parts = [kind, architecture.name, method.name, *([file_name(point)] if point else []), f"seed-{seed}"]
        return Run(
            kind=kind, architecture=architecture.name, method=method.name, point=point,
            recipe=_lasting(recipe, epochs, architecture), folder=self.out.joinpath(*parts), base=base,
        )  # fmt: skip

    def _epochs(self, architecture: Architecture, recipe: Recipe, samples: int | None) -> int:
        """Return the number of whole epochs that comes closest to a number of samples, at least one.

        An epoch leaves out the samples that do not fill its last batch.
        """
        assert samples is not None  # a base that is trained, or whose budget is given away, has samples
        size = self._train_sizes[architecture.name]
        per_epoch = max(1, size // recipe.batch_size) * min(recipe.batch_size, size)
        return max(1, round(samples / per_epoch))


def classifier(out: Path, architecture: str, method: str, seed: int) -> Path:
    """Return the folder of the one final run in the folder of a study whose result is there."""
    cell = out / "final" / architecture / method
    found = [folder for folder in sorted(cell.glob(f"**/seed-{seed}")) if (folder / "model").is_dir()]
    if len(found) != 1:
        raise StudyError(
            "no result of this method and seed" if not found else "several results of this method and seed",
            where=str(cell),
            expected=f"one folder seed-{seed} with a model",
            found=", ".join(str(folder.relative_to(cell)) for folder in found) or None,
            remedy="run that study first, with keep = models" if not found else "give the study a folder of its own",
        )
    return found[0]


def _lasting(recipe: Recipe, epochs: int, architecture: Architecture) -> Recipe:
    """Return a recipe with another number of epochs, into which its schedule has to fit."""
    with recipe_errors_in(f"{epochs} epochs of {architecture.name}"):
        return dataclasses.replace(recipe, epochs=epochs)


def label(point: Mapping[str, Any]) -> str:
    """Return the values of some settings in words.

    Example:
        >>> label({"lr": 0.1, "model_ema": True, "method_kwargs": {"rank": 4}})
        'lr 0.1, model_ema true, rank 4'
    """
    parts = (label(value) if isinstance(value, Mapping) else f"{name} {_word(value)}" for name, value in point.items())
    return ", ".join(parts)


def file_name(point: Mapping[str, Any]) -> str:
    """Return the same as a name of a folder.

    Example:
        >>> file_name({"lr": 0.1, "method_kwargs": {"rank": 4}})
        'lr-0.1,rank-4'
    """
    return re.sub(r"[^\w.,+-]", "", label(point).replace(", ", ",").replace(" ", "-"))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "x".join(_word(item) for item in value)
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
