"""A training method: it prepares the model, makes its optimizer, and begins new rounds, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from timm.utils.clip_grad import dispatch_clip_grad
from torch import nn
from torch.optim import SGD, Optimizer

from refconv.errors import RecipeError, RefconvError, did_you_mean
from refconv.layers import find_layers
from refconv.methods.norms import keep_statistics
from refconv.methods.optimizer_arguments import check_kinds, try_out
from refconv.methods.sparsity import keep_zeros
from refconv.parametrizations import TRANSFORMS, resolved
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import LOOKAHEAD, Space
from refconv.surgery import Plan, plan_of, rebase

#: Optimizers of timm's that are torch's and have a fused form
_FUSED = {"sgd", "nesterov", "momentum", "adam", "adamw"}
_OF_REFOCUS_SGD = ("bases",)  # settings in ``opt_kwargs`` that no other optimizer has
_SHARED_WITH_TIMM = ("opt", "lr", "weight_decay", "momentum", "filter_bias_and_bn", "layer_decay")


class Method:
    """How one recipe trains a model. The class itself is plain training; other methods override what they change."""

    inherits = True  # training starts from the weights that the recipe names; else from new ones
    space: Space | None = None  # where the method refocuses; None if it does not
    keeps_statistics = False  # whether batch norms keep their running statistics, whatever the recipe says

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.check()
        _check_budget(recipe)

    @property
    def reads(self) -> frozenset[str]:
        """The names of those settings of refocusing in the recipe that make a difference to the method."""
        return frozenset()

    def check(self) -> None:
        """Check the settings; plain training has none."""
        for name in self.recipe.method_kwargs:
            raise RecipeError(f"{self.recipe.method} has no such setting", where=f"method_kwargs.{name}")

    def prepare(self, model: nn.Module) -> Plan | None:
        """Prepare a plain model in place, on its device and with its weights; return the plan if kernels change."""
        if self.keeps_statistics or self.recipe.norm_statistics == "keep":
            keep_statistics(model)
        done = self.change(model)
        if self.recipe.zeros == "keep":
            keep_zeros(model, but=() if done is None else [row.layer for row in done.refocused])
        return done

    def change(self, model: nn.Module) -> Plan | None:
        """Change the kernels of a model, or what the optimizer will make of their gradients; return the plan."""
        return None

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of everything trainable in a prepared model."""
        return make_optimizer(model, self.recipe)

    def clipping(self, model: nn.Module) -> Callable[[], None] | None:
        """Return what clips the gradients before the optimizer's step; None if nothing is to."""
        limit, mode = self.recipe.clip_grad, self.recipe.clip_mode
        if limit is None:
            return None
        find = getattr(model, "get_classifier", None)
        # Adaptive clipping leaves the classifier alone, as its authors do and as timm does.
        head = find() if mode == "agc" and callable(find) else None
        left_out = {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
        parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in left_out]
        return lambda: dispatch_clip_grad(parameters, limit, mode=mode)

    def new_round(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Make the current kernels the bases of a new round; ``optimizer`` is what :meth:`optimizer` returned."""
        for parameter in rebase(model):
            optimizer.state.pop(parameter, None)
            inner_optimizer(optimizer).state.pop(parameter, None)


def _check_budget(recipe: Recipe) -> None:
    """Check that a recipe's budget, if it has one, decides something."""
    if recipe.budget is None:
        return
    kind = TRANSFORMS.get(resolved(recipe.method))
    if kind is None or kind.size is None:
        sized = ", ".join(name for name, other in TRANSFORMS.items() if other.size is not None)
        raise RecipeError(f"{recipe.method} has no size to choose", where="budget", expected=f"one of {sized}")
    if kind.size in recipe.method_kwargs or (kind.size == "map_size" and recipe.map_size != (3,)):
        raise RecipeError("is set by the budget", where=kind.size, remedy="leave one of them out")
    if not (recipe.budget.isdecimal() and int(recipe.budget)) and recipe.budget not in TRANSFORMS:
        what, remedy = "neither a number nor a method that changes kernels", did_you_mean(recipe.budget, TRANSFORMS)
        raise RecipeError(what, where="budget", found=repr(recipe.budget), remedy=remedy)


def parameters_allowed(model: nn.Module, recipe: Recipe) -> int | None:
    """Return how many numbers a recipe's budget lets its method train; None without one."""
    if recipe.budget is None or recipe.budget.isdecimal():
        return None if recipe.budget is None else int(recipe.budget)
    # A method named as the budget stands for what it trains on the same layers with its defaults.
    selection = {"include": recipe.include or None, "exclude": recipe.exclude or None}
    return plan_of(model, recipe.budget, **selection).extra_parameters


def make_optimizer(model: nn.Module, recipe: Recipe, *, exempt: Collection[str] = (), fused: bool = False) -> Optimizer:
    """Return timm's optimizer of everything trainable in a model.

    Args:
        model: on its device.
        recipe: its settings.
        exempt: names of parameters that do not decay.
        fused: take the fused form of torch's optimizer, where it has one and the recipe does not say.
    """
    if own := [name for name in _OF_REFOCUS_SGD if name in recipe.opt_kwargs]:
        remedy = "method = refocus with space = gradient, or leave it out"
        what, found = "only RefocusSGD, which trains in gradient space, takes this", f"the optimizer {recipe.opt}"
        raise RecipeError(what, where=f"opt_kwargs {own[0]}", expected="RefocusSGD", found=found, remedy=remedy)
    with checked(model, recipe):
        groups = parameter_groups(model, recipe, exempt) if exempt or recipe.kernel_lr_scale != 1 else model
        shared = {name: getattr(recipe, name) for name in _SHARED_WITH_TIMM}
        chosen = {"fused": True} if fused and _has_fused_form(model, recipe) else {}
        optimizer = create_optimizer_v2(groups, **shared, **chosen, **recipe.opt_kwargs)
    assert isinstance(optimizer, Optimizer)
    if chosen:
        _begin_momentum(inner_optimizer(optimizer))
    if getattr(optimizer, "is_second_order", False):
        # AdaHessian draws from a generator of its own, so its runs could not be resumed exactly either.
        raise RecipeError(f"{recipe.opt} needs second derivatives, which the loop does not compute", where="opt")
    if given := recipe.opt_kwargs:
        alike = {**shared, "layer_decay": None, **chosen, **given}
        try_out(lambda small: cast("Optimizer", create_optimizer_v2(small, **alike)), model, recipe)
    return optimizer


def _begin_momentum(optimizer: Optimizer) -> None:
    """Give SGD the momentum zero, so that parameters may get their first gradients at different steps.

    The fused form takes either all of them with momentum or none. Without dampening the first step is the same.
    """
    for group in optimizer.param_groups if isinstance(optimizer, SGD) else ():
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _has_fused_form(model: nn.Module, recipe: Recipe) -> bool:
    if recipe.rounds > 1:  # a new round starts the momentum of some kernels only, which the fused form cannot
        return False
    said = {"fused", "foreach", "capturable", "differentiable", "dampening"} & recipe.opt_kwargs.keys()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    able = all(one.is_floating_point() and one.device.type in {"cpu", "cuda"} for one in trained)
    return recipe.opt.lower().removeprefix(LOOKAHEAD) in _FUSED and not said and able


@contextmanager
def checked(model: nn.Module, recipe: Recipe) -> Iterator[None]:
    """Make an optimizer within the block, with errors that name the setting of the recipe."""
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in list_optimizers():
        expected, remedy = "a name of timm's", did_you_mean(recipe.opt, list_optimizers())
        raise RecipeError("unknown optimizer", where="opt", expected=expected, found=repr(recipe.opt), remedy=remedy)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError("nothing to train: the model has no trainable parameter", where="model")
    check_kinds(recipe)
    try:
        yield
    except RefconvError:  # of a kernel or a setting, with its own words
        raise
    except (TypeError, ValueError, AssertionError, LookupError) as error:
        raise RecipeError(f"{recipe.opt} does not take these settings", where="opt", found=str(error)) from error


def parameter_groups(model: nn.Module, recipe: Recipe, exempt: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the parameter groups that timm makes of a model."""
    listed = getattr(model, "no_weight_decay", None)
    names = {*exempt, *(listed() if callable(listed) else ())}
    decay = recipe.weight_decay
    if recipe.layer_decay is not None:
        found = param_groups_layer_decay(model, decay, layer_decay=recipe.layer_decay, no_weight_decay_list=names)
    elif recipe.filter_bias_and_bn:
        found = param_groups_weight_decay(model, decay, no_weight_decay_list=names)
    else:
        trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        found = [
            {"params": [p for name, p in trainable if name in exempt], "weight_decay": 0.0},
            {"params": [p for name, p in trainable if name not in exempt], "weight_decay": decay},
        ]
    if recipe.kernel_lr_scale != 1:
        found = [part for group in found for part in _scaled_kernels(group, model, recipe.kernel_lr_scale)]
    return [group for group in found if group["params"]]


def _scaled_kernels(group: dict[str, Any], model: nn.Module, scale: float) -> list[dict[str, Any]]:
    """Return the kernels of a group, with their learning rate scaled as timm's schedules read it, and the rest."""
    names = kernel_names(model, [layer.name for layer in find_layers(model)])
    kernels = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    scaled = {**group, "lr_scale": scale * group.get("lr_scale", 1.0)}
    return [
        {**scaled, "params": [p for p in group["params"] if id(p) in kernels]},
        {**group, "params": [p for p in group["params"] if id(p) not in kernels]},
    ]


def kernel_names(model: nn.Module, layers: Collection[str]) -> set[str]:
    """Return the names of the parameters that make the kernels of some layers, themselves or by a transformation."""
    prefixes = [f"{layer}." if layer else "" for layer in layers]
    kernels = {f"{prefix}weight{kind}" for prefix in prefixes for kind in ("", "_v", "_g", "_orig")}
    through = tuple(f"{prefix}parametrizations.weight" for prefix in prefixes)
    return {name for name, _ in model.named_parameters() if name in kernels or name.startswith(through)}


def inner_optimizer(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that timm's Lookahead wraps, or the optimizer itself."""
    return cast(Optimizer, getattr(optimizer, "_base_optimizer", optimizer))
