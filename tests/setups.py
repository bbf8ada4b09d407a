"""A run's setup without its data, for tests of single steps."""

from refconv.engine.setup import Setup
from refconv.methods.registry import method_of
from refconv.tasks.registry import task_named


def setup_of(model, recipe, info, processes, *, steps_per_epoch, part_size):
    """Return the setup of a prepared model; a part has so many samples over all processes."""
    return Setup(
        method=method_of(recipe), processes=processes, task=task_named(recipe.task), data=None, info=info, spec=None,
        model=model, plan=None, frozen=(), part_size=part_size, steps_per_epoch=steps_per_epoch,
        samples_per_step=recipe.batch_size,
    )  # fmt: skip
