"""One optimizer step (forward, loss, backward, clip, update, average), its learning rate by timm, and its time.

The loss of a step is the mean over all that counts in it, such as the pixels that are not ignored, into however many
parts and processes the batch is cut.

Everything random in a step is seeded from (seed, step), and what a network draws from the rank too. So a step depends
on the state before it and its number, and not on how the run came there.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.optim import Lookahead
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from refconv.data import Batch, Samples, Targets
from refconv.engine.recomputing import recompute_activations, statistics_kept
from refconv.engine.setup import Setup, open_setup
from refconv.engine.synchronising import separate_norms, synchronise_norms
from refconv.errors import RecipeError
from refconv.methods.registry import method_of
from refconv.process.distributed import Processes, choose_device
from refconv.process.randomness import derive_seed, seed_everything, seed_numpy
from refconv.recipe.recipe import Recipe


class Stepper:
    """A prepared model, neither compiled nor wrapped yet, with all that trains it."""

    def __init__(self, setup: Setup) -> None:
        method, recipe, task, processes = setup.method, setup.recipe, setup.task, setup.processes
        self.model = model = setup.model
        self._recomputes = recipe.grad_checkpointing
        if self._recomputes:
            recompute_activations(model)
        self._norms = synchronise_norms(model, processes) if recipe.sync_bn else {}
        seed_everything(derive_seed("method", recipe.seed))  # gradient space draws a random start here
        self.optimizer = method.optimizer(model)
        self.average: ModelEmaV3 | None = None
        if recipe.model_ema:
            self.average = ModelEmaV3(model, decay=recipe.model_ema_decay, use_warmup=recipe.model_ema_warmup)
        self._objective = task.objective(recipe, setup.info, processes, part_size=setup.part_size)
        self.trained_loss: nn.Module | None = getattr(self._objective, "trained", None)
        if self.trained_loss is not None:
            self.optimizer.add_param_group({"params": [*self.trained_loss.parameters()], "weight_decay": 0.0})
        self._set_rates, self.epochs = make_schedule(self.optimizer, recipe, steps_per_epoch=setup.steps_per_epoch)
        steps = self.epochs * setup.steps_per_epoch
        self._round_starts = {steps * number // recipe.rounds for number in range(1, recipe.rounds)}
        self._new_round, self._clip = method.new_round, method.clipping(model)
        self._counting = task.counting(recipe) or (None if len({*setup.shares}) == 1 else _samples)
        self._idle = not setup.shares[processes.rank]  # and takes part with a sample that counts for nothing
        self._place = task.place(processes.device, recipe.channels_last)
        self._place_targets = task.place(processes.device)
        self._device, self._seed, self._processes = processes.device, recipe.seed, processes
        if recipe.compile:
            model.compile()
        self._network: Callable[..., Any] = model
        self._without_exchange: Callable[[], AbstractContextManager[None]] = nullcontext
        if not processes.alone:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the new name of broadcast_buffers is not in torch 2.8
                # No broadcast of buffers in each step: see Processes.share_buffers.
                wrapped = DistributedDataParallel(
                    model,
                    device_ids=[self._device] if self._device.type == "cuda" else None,
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                )
            self._network, self._without_exchange = wrapped, wrapped.no_sync
        model.train()

    def plain_result(self) -> nn.Module:
        """Return the model whose weights count, as it is without other processes; called once training has ended."""
        separate_norms(self.result, self._norms)
        return self.result

    @property
    def result(self) -> nn.Module:
        """The model whose weights count: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def lr(self) -> float:
        """The largest learning rate of the last step."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def begins_round(self, number: int) -> bool:
        """Return whether a step begins a new round."""
        return number in self._round_starts

    def steps_of_round(self, taken: int) -> int:
        """Return how many of the steps that were taken belong to the last round."""
        return taken - max((start for start in self._round_starts if start < taken), default=0)

    def step(self, number: int, parts: Sequence[Batch]) -> Tensor:
        """Take one step, after ``number`` others, and return its loss, on the device and not waited for.

        What a network draws, as for dropout, has the shape of this process's share and so a seed of its own. Mixing,
        which alone draws from NumPy, is drawn for the whole batch, in each process the same.
        """
        seed_everything(derive_seed("step", self._seed, number, self._processes.rank))
        self._set_rates(number)
        if number in self._round_starts:
            self._new_round(self.model, self.optimizer)
        losses = self._backward(number, parts)
        if self._clip is not None:
            self._clip()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, step=number + 1)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _backward(self, number: int, parts: Sequence[Batch]) -> list[Tensor]:
        """Compute the gradients of a step anew, and return the losses of its parts."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for position, ((samples, targets), weight) in enumerate(zip(parts, self._weights(parts), strict=True), start=1):
            seed_numpy(derive_seed("part", self._seed, number, position))
            with self._without_exchange() if position < len(parts) else nullcontext():
                placed = self._place(samples), self._place_targets(targets)
                loss = self._objective(self._network, *placed)
                loss = loss / len(parts) if weight is None else loss * weight
                with statistics_kept(self.model) if self._recomputes else nullcontext():
                    torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses

    def reached(self, number: int, parts: Sequence[Batch]) -> set[Tensor]:
        """Return the parameters that have a gradient in the step after ``number`` others, without taking it.

        Weights and buffers stay as they are.
        """
        owners = (self.model, *filter(None, (self.trained_loss,)))
        before = [(buffer, buffer.clone()) for owner in owners for buffer in owner.buffers()]
        seed_everything(derive_seed("step", self._seed, number, self._processes.rank))
        self._backward(number, parts)
        trained = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        found = {parameter for parameter in trained if parameter.grad is not None}
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, value in before:
            buffer.copy_(value)
        return found

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters by name: those of the model, then those that the loss itself trains."""
        yield from self.model.named_parameters()
        if self.trained_loss is not None:
            yield from self.trained_loss.named_parameters(prefix="loss")

    def end_epoch(self) -> None:
        """Let an optimizer that keeps slow weights, timm's Lookahead, put them in place, as timm's training does.

        They are what it averages towards, and so what is evaluated and shipped.
        """
        if isinstance(self.optimizer, Lookahead):
            self.optimizer.sync_lookahead()

    def _weights(self, parts: Sequence[Batch]) -> list[float | None]:
        """Return what the mean loss of each part is multiplied by, so that processes average to the mean of the step.

        A part weighs its share of all that counts in the step; times the number of processes, whose gradients are
        averaged. None for all where they have equal shares.
        """
        if self._counting is None:
            return [None] * len(parts)
        counts = [0.0 if self._idle else self._counting(*part) for part in parts]
        (total,) = self._processes.sums([sum(counts)])
        return [count * self._processes.world_size / max(total, 1.0) for count in counts]


def _samples(samples: Samples, targets: Targets) -> float:
    """Return how many samples a part has."""
    return float(len(samples))


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, steps_per_epoch: int) -> tuple[Callable[[int], None], int]:
    """Return what sets the learning rates by the number of a step alone, and the epochs, warm-up prefix included."""
    try:
        schedule, epochs = create_scheduler_v2(
            optimizer,
            sched=recipe.sched,
            num_epochs=recipe.epochs,
            warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.warmup_lr,
            warmup_prefix=recipe.warmup_prefix,
            min_lr=recipe.min_lr,
            step_on_epochs=False,
            updates_per_epoch=steps_per_epoch,
            **recipe.sched_kwargs,
        )
        if isinstance(schedule, Scheduler):
            for step in (max(0, int(epochs) * steps_per_epoch - 1), 0):  # formulas of timm's may fail late
                schedule.step_update(step)
    except (ArithmeticError, TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"{recipe.sched} does not take these settings", where="sched", found=str(error)) from error
    if recipe.sched == "none":
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)  # as timm's schedules do
        return lambda step: None, recipe.epochs
    if not isinstance(schedule, Scheduler):
        raise RecipeError("this version of timm has no such schedule", where="sched", found=repr(recipe.sched))
    return schedule.step_update, int(epochs)


def step_seconds(recipes: Mapping[str, Recipe], turns: int) -> dict[str, list[float]]:
    """Return the seconds of ``turns`` steps of each recipe, after one that is not counted.

    The recipes take their steps in turn, so that whatever else the machine does slows all of them alike; the times
    of whole runs, one after the other, would not compare. The i-th times of two recipes, on the same device, are a
    pair.
    """
    steppers, batches = {}, {}
    for name, recipe in recipes.items():
        setup = open_setup(method_of(recipe), Processes(0, 1, choose_device(recipe.device)))
        steppers[name] = Stepper(setup)
        parts = setup.train_batches(0)
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
