"""What a step of each method costs, beside the reference method's in the same process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from refconv.engine.stepping import medians, step_seconds
from refconv.recipe.recipe import Recipe
from refconv.records import Record
from refconv.studies.runs import Run

TURNS = 30
"""Steps of each method that are timed for the record."""


@dataclass(frozen=True)
class StepTimes(Record):
    """Times of one architecture, measured when nothing else of the study ran.

    Attributes:
        reference: the method that the others are compared with.
        median_ms: per method, median milliseconds of a step.
        ratio: per method, median over pairs of steps of its time over that of the reference method.
        turns: steps of each method.
        recipes: per method, what tells whether it has still the same settings.
    """

    reference: str
    median_ms: dict[str, float]
    ratio: dict[str, float]
    turns: int
    recipes: dict[str, str]


def measure(runs: Mapping[str, Run], reference: str, turns: int = TURNS) -> StepTimes:
    """Time the methods of one architecture, a step of each in turn.

    Args:
        runs: per method, a run of it.
        reference: the method that the others are compared with; the first one if it is not among them.
        turns: steps of each.

    Raises:
        RefconvError: if a recipe cannot be carried out.
    """
    seconds = step_seconds({name: _recipe(run) for name, run in runs.items()}, turns)
    reference = reference if reference in runs else next(iter(runs))
    ratios = {name: [a / b for a, b in zip(own, seconds[reference], strict=True)] for name, own in seconds.items()}
    return StepTimes(
        reference=reference,
        median_ms={name: 1000 * value for name, value in medians(seconds).items()},
        ratio=medians(ratios),
        turns=turns,
        recipes={name: _digest(run.recipe) for name, run in runs.items()},
    )


def measured_once(path: Path, runs: Mapping[str, Run], reference: str) -> StepTimes:
    """Return what an earlier call measured, if it holds for these runs; else measure now and note it.

    Args:
        path: the file.
        runs: per method, a run of it.
        reference: the method that the others are compared with.

    Raises:
        RefconvError: if a recipe cannot be carried out.
    """
    if path.is_file():
        times = StepTimes.read(path)
        known = all(times.recipes.get(name) == _digest(run.recipe) for name, run in runs.items())
        if known and (times.reference == reference or reference not in runs):
            return times
    times = measure(runs, reference)
    path.parent.mkdir(parents=True, exist_ok=True)
    times.write(path)
    return times


def _recipe(run: Run) -> Recipe:
    """Return the recipe of a run; with fresh weights while its base is not there, for a step takes as long."""
    if run.base is None or (run.base / "model").is_dir():
        return run.recipe
    return dataclasses.replace(run.recipe, checkpoint=None, reset_classifier=False)


def _digest(recipe: Recipe) -> str:
    """Return a fingerprint of the settings that a step's time may depend on."""
    same = dataclasses.replace(recipe, checkpoint=None, reset_classifier=False, seed=0, lr=0.0)
    return hashlib.sha256(same.to_toml().encode()).hexdigest()[:16]
