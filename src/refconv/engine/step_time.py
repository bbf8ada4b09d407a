"""The time of training steps of several recipes, taken in turn so that they compare."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

from refconv.engine.setup import open_setup
from refconv.engine.stepping import Stepper
from refconv.methods.registry import method_of
from refconv.process.distributed import Processes, choose_device
from refconv.recipe.recipe import Recipe


def step_seconds(recipes: Mapping[str, Recipe], turns: int) -> dict[str, list[float]]:
    """Return the seconds of so many steps of each recipe, after one that is not counted.

    The recipes take their steps in turn, so that whatever else the machine does slows all of them alike; the times
    of whole runs, one after the other, would not compare. The i-th times of two recipes are a pair.

    Args:
        recipes: by name; all on the same device.
        turns: steps of each that are timed.

    Raises:
        RefconvError: if a recipe cannot be carried out.
    """
    steppers, batches = {}, {}
    for name, recipe in recipes.items():
        setup = open_setup(method_of(recipe), Processes(0, 1, choose_device(recipe.device)))
        steppers[name] = Stepper(setup)
        parts = setup.data.train_batches(seed=recipe.seed, epoch=0, batch_size=setup.part_size)
        batches[name] = [next(parts) for _ in range(recipe.grad_accum_steps)]
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    for turn in range(turns + 1):
        for name, stepper in steppers.items():
            begin = time.perf_counter()
            stepper.step(0, batches[name]).item()  # an accelerator has finished when the loss has arrived
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(found) for name, found in seconds.items()}
