"""What follows from settings together: defaults that depend on others, the space, and what excludes what."""

from __future__ import annotations

from typing import Literal

from refconv.errors import RecipeError, did_you_mean
from refconv.recipe.fields import Settings
from refconv.recipe.schedules import check_schedule

Space = Literal["kernel", "gradient"]
NESTEROV = {"sgd": True, "nesterov": True, "momentum": False}
"""timm's names of torch's SGD, for which gradient space is equivalent, and whether they mean Nesterov's momentum."""

LOOKAHEAD = "lookahead_"
"""timm's prefix for averaging an optimizer's steps, which is linear, so that it changes nothing here."""

LEFT_OPEN = [("interpolation", "bilinear", None), ("interpolation", None, "bilinear")]
"""Values that earlier versions wrote where none was given; a resumed run keeps its own."""

RATE_FROM_SCRATCH = 0.1
"""Learning rate of SGD from scratch where a recipe gives none; until version 0.1.0 that of every recipe."""

RATE_ENTRY_BY_ENTRY = 0.001
"""Learning rate of optimizers that scale each entry of their step, from scratch and from weights."""

_SGD_LIKE = (*NESTEROV, "sgdp", "sgdw", "lars", "larc", "nlars", "nlarc")
"""timm's optimizers whose step is proportional to the gradient or to the weight, not scaled entry by entry."""


def from_weights(recipe: Settings) -> bool:
    """Return whether training starts from given weights, of the whole model or of the backbone."""
    named = recipe.pretrained or recipe.checkpoint is not None or recipe.backbone_checkpoint is not None
    return named and recipe.method != "scratch"


def default_rate(recipe: Settings) -> float:
    """Return the learning rate of a recipe that gives none.

    With SGD 0.1 from scratch and a tenth of that from weights. A trained CIFAR-10 ResNet-20, trained on for two epochs
    of 2,000 images with SGD, had 61.6 % of 1,000 test images at 0.1, 84.4 % at 0.01 and 83.1 % at 0.003 (one seed).

    An optimizer that scales each entry of its step moves a weight by about the rate itself, whatever the gradient:
    0.001 from scratch and from weights. The same network began with 80.4 % of 1,000 other test images and had after the
    same training with AdamW, at 0.0001, 0.0003, 0.001 and 0.003 (means of two seeds): plain 80.4, 81.5, 82.3 and
    79.7 %; refocused 79.7, 80.9, 82.5 and 83.4 %. ImageNet's EfficientNet-Lite0 with a new classifier had, after four
    epochs of 300 images of CIFAR-10 at 96 px, 16.0 % of 300 test images at 0.0001, 32.7 % at 0.0003 and 52.3 % at 0.001
    (plain, one seed; refocused 50.7 % at 0.001).
    """
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in _SGD_LIKE:
        return RATE_ENTRY_BY_ENTRY
    return RATE_FROM_SCRATCH / 10 if from_weights(recipe) else RATE_FROM_SCRATCH


def check_together(recipe: Settings) -> None:
    """Refuse settings that exclude each other or that would have no effect."""
    if recipe.pretrained and recipe.checkpoint is not None:
        remedy = "give pretrained or checkpoint, not both"
        raise RecipeError("two sources of weights", where="checkpoint", remedy=remedy)
    if recipe.reset_classifier and recipe.checkpoint is None:
        raise RecipeError("has no effect without checkpoint", where="reset_classifier")
    for name, needed in (("distill_checkpoint", "distill"), ("distill_features", "distill"), ("loss_kwargs", "loss")):
        if getattr(recipe, name) and getattr(recipe, needed) is None:
            raise RecipeError(f"has no effect without {needed}", where=name)
    if recipe.batch_size % recipe.grad_accum_steps:
        what, expected = "the batch cannot be cut into equal parts", f"a divisor of batch_size = {recipe.batch_size}"
        raise RecipeError(what, where="grad_accum_steps", expected=expected, found=str(recipe.grad_accum_steps))
    trains_no_kernel = recipe.train != "all" and "refocus" not in recipe.train
    if trains_no_kernel and recipe.method not in {"plain", "scratch", "norm_fold"}:
        raise RecipeError(
            f"trains no kernel, so {recipe.method} has no effect",
            where="train",
            expected="all or refocus, alone or with norm or head",
            found=repr(recipe.train),
            remedy="method = plain",
        )
    if recipe.train == "norm" and recipe.kernel_lr_scale != 1:
        raise RecipeError("has no effect where only norms train", where="kernel_lr_scale", remedy="leave it out")
    if (recipe.mean is None) != (recipe.std is None):
        raise RecipeError("mean and std go together", where="mean" if recipe.std is None else "std")
    _check_augmentation(recipe)
    if not recipe.warmup_prefix and recipe.warmup_epochs > recipe.epochs:
        what, expected = "the warm-up is longer than the training", f"at most {recipe.epochs}"
        raise RecipeError(what, where="warmup_epochs", expected=expected, found=f"{recipe.warmup_epochs:g}")
    _check_kept(recipe)
    check_schedule(recipe)
    _check_logging(recipe)
    _check_space(recipe)


LOG_SETTINGS = {"project": "a text", "name": "a text", "group": "a text", "tags": "texts"}
"""What all loggers may be told, with the kind of each value."""


def _check_logging(recipe: Settings) -> None:
    """Check that loggers know what they are told, and that there is one to be told."""
    for name, value in recipe.log_kwargs.items():
        if name not in LOG_SETTINGS:
            expected, remedy = ", ".join(LOG_SETTINGS), did_you_mean(name, LOG_SETTINGS)
            raise RecipeError(
                "unknown setting of a logger", where=f"log_kwargs.{name}", expected=expected, remedy=remedy
            )
        texts = value if isinstance(value, (list, tuple)) and name == "tags" else (value,)
        if not all(isinstance(text, str) for text in texts):
            where, expected = f"log_kwargs.{name}", LOG_SETTINGS[name]
            raise RecipeError("wrong type", where=where, expected=expected, found=repr(value))
    if recipe.log_kwargs and not {"wandb", "mlflow", "trackio"} & set(recipe.log):
        raise RecipeError("has no effect without log", where="log_kwargs", expected="log = wandb, mlflow or trackio")


def _check_augmentation(recipe: Settings) -> None:
    """Check ranges of augmentation."""
    for name in ("scale", "ratio"):
        limits = getattr(recipe, name)
        if limits is not None and not 0 < limits[0] <= limits[1]:
            raise RecipeError("not a range", where=name, expected="0 < low <= high", found=str(limits))
    if 0 < recipe.aug_repeats < 1:
        expected, found = "0, or 1 and more", f"{recipe.aug_repeats:g}"
        raise RecipeError("not a number of repetitions", where="aug_repeats", expected=expected, found=found)
    if recipe.aug_repeats and recipe.samples_per_class is not None:
        what = "batches of drawn classes take their samples once"
        raise RecipeError(what, where="aug_repeats", remedy="leave out aug_repeats or samples_per_class")


def _check_kept(recipe: Settings) -> None:
    """Check that there is something to keep for the settings that keep something of the weights."""
    if recipe.mask is not None and recipe.zeros != "keep":
        raise RecipeError("has no effect where zeros are filled", where="mask", remedy="zeros = keep")
    if recipe.sync_bn and (recipe.norm_statistics == "keep" or recipe.method == "norm_fold"):
        what, remedy = "has no effect where batch norms keep their statistics", "leave it out"
        raise RecipeError(what, where="sync_bn", remedy=remedy)
    for name, default, kept in (("norm_statistics", "batch", "statistics"), ("zeros", "fill", "zeros")):
        if recipe.method == "scratch" and getattr(recipe, name) == "keep":
            what = f"scratch starts from new weights, which have no {kept} to keep"
            raise RecipeError(what, where=name, remedy=f"{name} = {default}")


def space_of(recipe: Settings) -> Space | None:
    """Return the space in which a recipe refocuses; None if it does not."""
    if recipe.method != "refocus":
        return None
    if recipe.space != "auto":
        return "gradient" if recipe.space == "gradient" else "kernel"
    return "kernel" if _obstacle(recipe) else "gradient"


def _check_space(recipe: Settings) -> None:
    """Check that a recipe refocuses in a space in which its other settings have a meaning."""
    space = space_of(recipe)
    if space == "gradient" and (obstacle := _obstacle(recipe)):
        where, what, remedy = obstacle
        raise RecipeError(f"gradient space is {what}", where=where, remedy=remedy)
    if space == "kernel" and recipe.decay == "kernel":
        what = "kernel space decays refocus weights, which pulls kernels towards their bases, not towards zero"
        remedy = "space = gradient, with an optimizer that is SGD"
        raise RecipeError(what, where="decay", expected="refocus or none", found="'kernel'", remedy=remedy)
    if space == "kernel" and recipe.rounds > 1 and recipe.model_ema:
        what = "an average over several bases is not the average of the kernels"
        expected, remedy = "1 with model_ema in kernel space", "space = gradient, or no model_ema"
        raise RecipeError(what, where="rounds", expected=expected, found=str(recipe.rounds), remedy=remedy)


def _obstacle(recipe: Settings) -> tuple[str, str, str] | None:
    """Return what of a recipe is not equivalent in gradient space: the setting, why, and the remedy."""
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in NESTEROV:
        return "opt", f"equivalent under SGD only, not under {recipe.opt}", "opt = momentum or sgd, or space = kernel"
    if recipe.clip_grad is not None and recipe.clip_mode != "norm":
        what = f"not equivalent under clipping by {recipe.clip_mode}, which acts on entries of the refocus weight"
        return "clip_mode", what, "clip_mode = norm, or space = kernel"
    return None
