"""What a run would do, found without writing anything: data and model are opened, and a few steps are timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

from refconv.data.preprocessing import Preprocessing
from refconv.engine.run_record import hardware
from refconv.engine.setup import open_setup
from refconv.engine.stepping import Stepper
from refconv.methods.registry import method_of
from refconv.models.creation import completed
from refconv.process.distributed import joined
from refconv.recipe.code import trust_named
from refconv.recipe.recipe import Recipe
from refconv.records import Record

_STEPS = 3  #: Steps that are timed, after one that is not


@dataclass(frozen=True)
class RunPlan(Record):
    """What a run of a recipe would do."""

    recipe: dict[str, Any]  #: every setting, defaults included
    preprocessing: Preprocessing  #: how images become tensors, and where each value comes from
    train_samples: int
    val_samples: int
    test_samples: int
    classes: int  #: of the data
    epochs: int  #: warm-up and cool-down included
    steps: int  #: optimizer steps
    samples_seen: int  #: training samples, over all processes
    parameters: int  #: of the model
    parameters_trained: int  #: parameters with a gradient, refocus weights among them
    space: str | None  #: ``kernel`` or ``gradient``, where kernels are refocused
    sites: int  #: number of kernels refocused
    step_ms: float  #: the fastest of a few steps, in milliseconds
    hardware: str

    @property
    def seconds(self) -> float:
        """The time that all steps take."""
        return self.steps * self.step_ms / 1000

    def __str__(self) -> str:
        recipe = self.recipe
        trained = f"{self.parameters_trained:,} of them trained"
        if self.parameters_trained > self.parameters:
            trained = f"{self.parameters_trained:,} trained"
        refocused = f", {self.sites} kernels refocused in {self.space} space" if self.space else ""
        units = ((3600, "h"), (60, "min"), (1, "s"))
        size, unit = next(one for one in units if self.seconds >= 2 * one[0] or one[0] == 1)
        took = f"{self.seconds / size:.3g} {unit}"
        return "\n".join((
            f"images: {self.preprocessing}",
            f"data: {recipe['data']}: {self.train_samples:,} training, {self.val_samples:,} validation and "
            f"{self.test_samples:,} test samples" + (f", {self.classes:,} classes" if self.classes else ""),
            f"model: {recipe['model']}, {self.parameters:,} parameters, {trained}{refocused}",
            f"training: {recipe['method']}, {recipe['opt']} at lr {recipe['lr']:g}, {recipe['sched']} schedule over "
            f"{self.epochs} epochs, {self.steps:,} steps of {recipe['batch_size']} samples",
            f"time: about {took} of training, at {self.step_ms:.0f} ms a step on {self.hardware}",
        ))  # fmt: skip


def plan_run(recipe: Recipe) -> RunPlan:
    """Return what a run of a recipe would do, with the errors that it would begin with.

    Raises:
        RefconvError: as :func:`refconv.engine.train`, but for those about its folder.
    """
    trust_named(recipe)
    recipe = completed(recipe)
    method = method_of(recipe)
    with joined(recipe.device) as processes:
        with processes.together():
            setup = open_setup(method, processes)
            parameters = sum(one.numel() for one in setup.spec.build().parameters())
            stepper = Stepper(setup)
        parts = list(islice(setup.train_batches(0), recipe.grad_accum_steps))
        seconds = []
        for _ in range(_STEPS + 1):
            begin = time.perf_counter()
            stepper.step(0, parts).item()
            seconds.append(time.perf_counter() - begin)
        (slowest,) = processes.maxima([min(seconds[1:])])
        steps = stepper.epochs * setup.steps_per_epoch
        info = setup.data.info
        return RunPlan(
            recipe=recipe.to_dict(),
            preprocessing=setup.data.preprocessing,
            train_samples=info.train_size,
            val_samples=info.val_size,
            test_samples=info.test_size,
            classes=info.num_classes,
            epochs=stepper.epochs,
            steps=steps,
            samples_seen=steps * setup.samples_per_step,
            parameters=parameters,
            parameters_trained=sum(one.numel() for one in setup.model.parameters() if one.requires_grad),
            space=method.space,
            sites=len(setup.plan.refocused) if setup.plan else 0,
            step_ms=1000 * slowest,
            hardware=hardware(processes.device, processes.world_size),
        )
