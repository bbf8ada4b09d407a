"""timm's schedules of the learning rate, made as the recipe says."""

from __future__ import annotations

from collections.abc import Callable

from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch.optim import Optimizer

from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, steps_per_epoch: int) -> tuple[Callable[[int], None], int]:
    """Return the schedule and how many epochs it runs, warm-up prefix and cool-down included.

    Args:
        optimizer: whose learning rates are set.
        recipe: the settings.
        steps_per_epoch: optimizer steps in an epoch.

    Returns:
        A function that sets the learning rates of a step, counted from 0, and depends on that number alone; and the
        number of epochs.

    Raises:
        RecipeError: if the schedule does not take an argument.
    """
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
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"{recipe.sched} does not take these settings", where="sched", found=str(error)) from error
    if recipe.sched == "none":
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)  # as timm's schedules do
        return lambda step: None, recipe.epochs
    if not isinstance(schedule, Scheduler):
        raise RecipeError("this version of timm has no such schedule", where="sched", found=repr(recipe.sched))
    return schedule.step_update, int(epochs)
