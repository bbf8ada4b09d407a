"""timm's optimizers, schedules, mixing and averages, made as the recipe says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from timm.data.mixup import Mixup
from timm.optim import (
    Lookahead,
    create_optimizer_v2,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from timm.utils.clip_grad import dispatch_clip_grad
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.errors import RecipeError, RefconvError
from refconv.gradspace import Decay, RefocusSGD, param_groups
from refconv.methods.methods import refocus_config
from refconv.recipe.recipe import Recipe
from refconv.recipe.settings import did_you_mean
from refconv.recipe.spaces import LOOKAHEAD, NESTEROV, space_of
from refconv.surgery import rebase


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of everything trainable in a model.

    Weight decay reaches the refocus weights as it reaches kernels, as in the paper's release: timm leaves out biases
    and one-dimensional parameters only.

    Raises:
        RecipeError: if the optimizer is unknown, cannot be used here or does not take an argument, or nothing is
            trainable.
        RefconvError: of a kernel that cannot be refocused, as it is.
    """
    if recipe.opt.lower().removeprefix("lookahead_") not in list_optimizers():
        raise RecipeError(
            "unknown optimizer",
            where="opt",
            expected="a name of timm's",
            found=repr(recipe.opt),
            remedy=did_you_mean(recipe.opt, list_optimizers()),
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError("nothing to train: the model has no trainable parameter", where="model")
    try:
        if space_of(recipe) == "gradient":
            return _in_gradient_space(model, recipe)
        optimizer = create_optimizer_v2(
            _undecayed(model, recipe) if space_of(recipe) == "kernel" and recipe.decay == "none" else model,
            opt=recipe.opt,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=recipe.filter_bias_and_bn,
            layer_decay=recipe.layer_decay,
            **recipe.opt_kwargs,
        )
    except RefconvError:  # of a kernel or a setting, with its own words
        raise
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"{recipe.opt} does not take these settings", where="opt", found=str(error)) from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    if getattr(optimizer, "is_second_order", False):
        # AdaHessian draws from a generator of its own, so its runs could not be resumed exactly either.
        raise RecipeError(f"{recipe.opt} needs second derivatives, which the loop does not compute", where="opt")
    return optimizer


def _in_gradient_space(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return SGD on the plain kernels with their gradients rewritten."""
    name = recipe.opt.lower()
    groups = param_groups(
        model, config=refocus_config(recipe), groups=_groups(model, recipe), decay=cast("Decay", recipe.decay)
    )
    settings = {"nesterov": NESTEROV[name.removeprefix(LOOKAHEAD)], **recipe.opt_kwargs}
    optimizer = RefocusSGD(groups, lr=recipe.lr, momentum=recipe.momentum, **settings)
    return Lookahead(optimizer) if name.startswith(LOOKAHEAD) else optimizer


def _undecayed(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the groups of a refocused model in which refocus weights are not decayed."""
    return _groups(model, recipe, {name for name, _ in model.named_parameters() if name.endswith("refocus_weight")})


def _groups(model: nn.Module, recipe: Recipe, exempt: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the parameter groups that timm makes of a model.

    Args:
        model: the model.
        recipe: the settings.
        exempt: names of parameters that are not decayed, beside those that the model names.
    """
    listed = getattr(model, "no_weight_decay", None)
    names = {*exempt, *(listed() if callable(listed) else ())}
    if recipe.layer_decay is not None:
        found = param_groups_layer_decay(
            model, recipe.weight_decay, layer_decay=recipe.layer_decay, no_weight_decay_list=names
        )
    elif recipe.filter_bias_and_bn:
        found = param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=names)
    else:
        trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        found = [
            {"params": [p for name, p in trainable if name in exempt], "weight_decay": 0.0},
            {"params": [p for name, p in trainable if name not in exempt], "weight_decay": recipe.weight_decay},
        ]
    groups: list[dict[str, Any]] = [group for group in found if group["params"]]
    return groups


def new_round(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Make the kernels of a model in training the bases of a new round, in either space."""
    inner = getattr(optimizer, "_base_optimizer", optimizer)  # of timm's Lookahead
    if isinstance(inner, RefocusSGD):
        inner.rebase()
        return
    for parameter in rebase(model):
        optimizer.state.pop(parameter, None)
        inner.state.pop(parameter, None)


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps_per_epoch: int
) -> tuple[Callable[[int], None], int]:
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
        return _keep, recipe.epochs
    if not isinstance(schedule, Scheduler):
        raise RecipeError("this version of timm has no such schedule", where="sched", found=repr(recipe.sched))
    return schedule.step_update, int(epochs)


def _keep(step: int) -> None:
    """Leave the learning rates as they are."""


def make_average(model: nn.Module, recipe: Recipe) -> ModelEmaV3 | None:
    """Return the average of the weights, if the recipe asks for one; to be made before compiling the model."""
    if not recipe.model_ema:
        return None
    return ModelEmaV3(model, decay=recipe.model_ema_decay, use_warmup=recipe.model_ema_warmup)


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


def make_clipping(model: nn.Module, recipe: Recipe, optimizer: torch.optim.Optimizer) -> Callable[[], None] | None:
    """Return what clips the gradients, if the recipe asks for it.

    Adaptive clipping leaves the classifier alone, as its authors do and as timm does. In gradient space the optimizer
    measures the norm as kernel space would.
    """
    if recipe.clip_grad is None:
        return None
    limit, mode = recipe.clip_grad, recipe.clip_mode
    inner = getattr(optimizer, "_base_optimizer", optimizer)  # of timm's Lookahead
    if isinstance(inner, RefocusSGD):

        def clip_in_gradient_space() -> None:
            inner.clip_grad_norm_(limit)

        return clip_in_gradient_space
    find = getattr(model, "get_classifier", None)
    head = find() if mode == "agc" and callable(find) else None
    left_out = {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in left_out]

    def clip() -> None:
        dispatch_clip_grad(parameters, limit, mode=mode)

    return clip
