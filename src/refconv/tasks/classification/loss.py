"""The loss of classification: cross-entropy, with smoothed labels or mixed samples where the recipe says so."""

from __future__ import annotations

from collections.abc import Callable

from timm.data.mixup import Mixup
from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe


def make_mixing(recipe: Recipe, info: DataInfo, *, batch_size: int, processes: int = 1) -> Mixup | None:
    """Return what mixes samples and labels of a batch, if the recipe asks for it.

    Args:
        recipe: the settings.
        info: the facts about the data.
        batch_size: samples that are mixed at a time, in one process.
        processes: number of processes.

    Raises:
        RecipeError: if the batch is odd, or cutmix is asked for data that are not images.
    """
    if not (recipe.mixup or recipe.cutmix):
        return None
    if info.train_size < batch_size * processes:  # the only batch is smaller, and shared out
        shares = {info.train_size // processes, -(-info.train_size // processes)}
    else:
        shares = {batch_size}
    odd = [share for share in sorted(shares) if share % 2]
    if odd:
        raise RecipeError(
            "mixup and cutmix need pairs",
            where="batch_size",
            expected="an even number of samples in each process and part",
            found=str(odd[0]),
        )
    if recipe.cutmix and len(info.input_size) != 3:
        raise RecipeError("cutmix needs images", where="cutmix", found=f"samples of shape {list(info.input_size)}")
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mixup_prob,
        switch_prob=recipe.mixup_switch_prob,
        mode=recipe.mixup_mode,
        label_smoothing=recipe.smoothing,
        num_classes=recipe.num_classes or info.num_classes,
    )


def make_loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the cross-entropy of the recipe; where samples are mixed, the labels are smoothed there already."""
    smoothing = 0.0 if recipe.mixup or recipe.cutmix else recipe.smoothing
    return nn.CrossEntropyLoss(label_smoothing=smoothing)
