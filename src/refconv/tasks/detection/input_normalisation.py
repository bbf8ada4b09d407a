"""How a detector normalises images: as the recipe says, or as the classifier did that its backbone starts from.

Detectors normalise images themselves; the data leaves them as they are, and says mean 0 and standard deviation 1.
"""

from __future__ import annotations

from refconv.data import DataInfo
from refconv.data.preprocessing import Statement, resolve
from refconv.models.model_input import NOTHING, of_weights, stated_by
from refconv.recipe.recipe import Recipe


def normalisation(
    recipe: Recipe, info: DataInfo, model: Statement | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std that the model shall use: the recipe's, or those of the classifier in its backbone.

    Where neither says anything they stay what the data says: 0 and 1, which leaves them to the model's builder.

    Args:
        recipe: the settings.
        info: the facts about the data.
        model: how the run was started, where it goes on.

    Raises:
        DataError: if there are neither one nor as many as channels.
        CheckpointError: if the classifier is not there.
    """
    learned = model
    if learned is None:
        learned = of_weights(recipe.backbone_checkpoint) if recipe.backbone_checkpoint is not None else NOTHING
    data = Statement("data", {"mean": info.mean, "std": info.std})
    found = resolve([stated_by(recipe), learned, data], in_chans=info.in_chans, where=info.name)
    return found.mean, found.std
