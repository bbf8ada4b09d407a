"""How well a model does before its first step and at its end, on the same few samples of the same split."""

from __future__ import annotations

import dataclasses
import math

from timm.optim import get_optimizer_info, list_optimizers
from torch import nn

from refconv.config import FIELDS
from refconv.data import Split
from refconv.data.dataset import in_drawn_order
from refconv.engine.run_record import Course
from refconv.engine.setup import Setup
from refconv.methods.method import Method
from refconv.recipe.rules import LOOKAHEAD, from_weights
from refconv.tasks.classification.evaluation import ClassificationEvaluation
from refconv.tasks.evaluation import Evaluation

EXPLODED = 100  #: Times the loss of the start, or 1 if that is less
MOST, LEAST, SHARE = 1000, 32, 10
"""Samples that are evaluated: a tenth of those that training sees, which costs about a thirtieth of it, within limits.

An image of a thousand is 0.1 points."""


def evaluate_start(model: nn.Module, setup: Setup, *, seen: int) -> tuple[str, Evaluation]:
    """Evaluate a model on samples of the validation split, or of the training split if there is none; name the split.

    They are the same at every call of a run that sees ``seen`` samples, and never of the test split. Evaluation changes
    neither the model nor what training draws at random.
    """
    split: Split = "val" if setup.data.info.val_size else "train"
    drawn, _, _ = in_drawn_order(setup.data, split, min(MOST, max(LEAST, seen // SHARE)))
    return split, setup.evaluate(model, split, drawn)


def course_from(split: str, result: Evaluation, measure: str) -> Course | None:
    """Return the start of a course; None if the measure has no value on these samples."""
    value = result.measures().get(measure)
    return None if value is None else Course(measure, split, result.samples, value, loss=getattr(result, "loss", None))


def exploded(course: Course | None, end: Evaluation) -> str | None:
    """Say from where to where the loss went in a run that blew up with numbers that are finite; None if it did not.

    That is a hundred times the loss of the start, or a hundred if that is more: a cross-entropy of a thousand classes
    begins at 7, and the squared error of standardised targets at 1, so that no result that is merely bad comes near.
    """
    start, last = None if course is None else course.loss, getattr(end, "loss", None)
    if start is None or last is None or last <= EXPLODED * max(1.0, start):
        return None
    return f"{start:.4g} at the start, {last:.4g} at the end"


def said(split: str, result: Evaluation) -> str:
    """Return the line about the start."""
    which = "validation split" if split == "val" else "training split (there is no validation split)"
    return f"start: {result} of the {which}"


def at_chance(result: Evaluation, setup: Setup) -> str | None:
    """Return a warning if a trained classifier starts no better than guessing; None otherwise.

    That is an accuracy of at most two standard deviations above chance. A reinitialised classifier, or one of random
    weights, is expected to start there.
    """
    classes = setup.info.num_classes
    if not isinstance(result, ClassificationEvaluation) or classes < 2 or not _classifier_kept(setup):
        return None
    guess = 1 / classes
    if result.top1 > guess + 2 * math.sqrt(guess * (1 - guess) / result.samples):
        return None
    return (
        f"warning: start {result.top1:.1%} is at chance for {classes:,} classes: check the class names and the "
        "preprocessing"
    )


def _classifier_kept(setup: Setup) -> bool:
    recipe = setup.recipe
    if recipe.checkpoint is not None:
        return not recipe.reset_classifier
    cfg = getattr(setup.model, "pretrained_cfg", None) or {}
    return recipe.pretrained and cfg.get("num_classes", setup.info.num_classes) == setup.info.num_classes


_OF_REFOCUSING = (*FIELDS.values(), "rounds", "space", "decay")
_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("model_ema_decay", "model_ema_warmup"), (("model_ema",),)),
    **dict.fromkeys(("distill_alpha", "distill_temperature"), (("distill",),)),
    "distill_features_weight": (("distill_features",),),
    "clip_mode": (("clip_grad",),),
    **dict.fromkeys(("mixup_prob", "mixup_mode"), (("mixup", "cutmix"),)),
    "mixup_switch_prob": (("mixup",), ("cutmix",)),
    "ratio": (("scale",),),
    **dict.fromkeys(("warmup_lr", "warmup_prefix"), (("warmup_epochs",),)),
}
"""Settings that only others read, by their names: of each group one has to be given."""


def idle_settings(method: Method) -> str | None:
    """Return a warning if settings are given that nothing reads: of refocusing, or of what is not switched on."""
    recipe = method.recipe
    usual = {field.name: field.default for field in dataclasses.fields(recipe)}
    given = {name for name, value in usual.items() if getattr(recipe, name) != value}
    idle = [name for name in _OF_REFOCUSING if name in given and name not in method.reads]
    lines = [f"the method {recipe.method} does not read {', '.join(idle)}; --method refocus does"] if idle else []
    for name in (name for name in _NEEDED if name in given):
        lacking = [" or ".join(group) for group in _NEEDED[name] if not given & {*group}]
        lines += [f"{name} has no effect without {' and '.join(lacking)}"] if lacking else []
    if "momentum" in given and not _has_momentum(recipe.opt):
        lines.append(f"momentum has no effect on the optimizer {recipe.opt}")
    return f"warning: {'; '.join(lines)}" if lines else None


def _has_momentum(optimizer: str) -> bool:
    """Say whether timm hands the momentum to an optimizer; what it does not know it refuses elsewhere."""
    name = optimizer.lower().removeprefix(LOOKAHEAD)
    return name not in list_optimizers() or get_optimizer_info(name).has_momentum


def random_bases(method: Method) -> str | None:
    """Return a warning if the kernels to refocus are random, as far as the recipe says."""
    if method.space is None or from_weights(method.recipe):
        return None
    return (
        "warning: refocusing keeps the kernels it starts from as bases, and these are random unless the builder loads "
        "weights itself; give --pretrained or --checkpoint, or train with --method plain first"
    )
