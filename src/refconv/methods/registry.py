"""The methods by name. Every kernel transformation is a method; another method is one class and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from timm.optim import Lookahead
from torch import nn
from torch.optim import Optimizer

from refconv.config import FIELDS, RefocusConfig, TransformConfig
from refconv.errors import RecipeError, SettingError, did_you_mean
from refconv.gradspace import Decay, RefocusSGD, param_groups
from refconv.methods.method import (
    Method,
    checked,
    inner_optimizer,
    make_optimizer,
    parameter_groups,
    parameters_allowed,
)
from refconv.methods.norms import keep_statistics as keep_statistics
from refconv.parametrizations import TRANSFORMS, config_of, resolved
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import LOOKAHEAD, NESTEROV, space_of
from refconv.surgery import Plan, fit_budget, plan, reparametrize


class Scratch(Method):
    """Ordinary training of weights that are initialised from the recipe's seed, whatever weights it names."""

    inherits = False


class NormFold(Method):
    """Training with batch norms that use and keep their running statistics, as if folded into the convolutions.

    Source: Efficient ConvBN Blocks for Transfer Learning and Beyond, arXiv 2305.11624, the Tune mode.

    Note [What is equal]: Tune mode computes, for a convolution (w, b) before a norm of scale g and shift h,

        conv(x, w g / s) + (b - mean) g / s + h,    s = sqrt(variance + epsilon)

    with w, b, g and h trained and the running mean and variance fixed. A convolution is linear in its weight, so
    outputs, all gradients and every step of training equal those of the convolution followed by the norm in evaluation
    mode, up to rounding. The paper folds to save time and memory; here nothing is folded: accuracies compare as there,
    step times do not, and modules and keys stay as they are without matching convolutions with norms.
    """

    keeps_statistics = True


class Transformed(Method):
    """Training of the kernels through the transformation that has the method's name.

    Settings that refocusing has too are fields of the recipe; all others are ``method_kwargs``.
    """

    def check(self) -> None:
        recipe, own = self.recipe, self._fields()
        for name in (given for given in recipe.method_kwargs if given in own):
            where, remedy = f"method_kwargs.{name}", f"give {FIELDS[name]} on its own"
            raise RecipeError("is a field of the recipe", where=where, remedy=remedy)
        try:
            self.config()
        except SettingError as error:
            name = str(error.where)
            where = FIELDS[name] if name in own else f"method_kwargs.{name}"
            told = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
            raise RecipeError(error.what, where=where, **told) from error

    def config(self) -> TransformConfig:
        return config_of(resolved(self.recipe.method), {**self._fields(), **self.recipe.method_kwargs})

    @property
    def reads(self) -> frozenset[str]:
        refocuses = set() if self.space is None else {"space", "decay"}
        return frozenset({"rounds", *refocuses, *(FIELDS[name] for name in self._fields())})

    def change(self, model: nn.Module) -> Plan:
        """Put the transformation on the model's kernels, sized by the budget if there is one."""
        config, wanted = self.config(), parameters_allowed(model, self.recipe)
        if wanted is not None:
            config = dataclasses.replace(config, **fit_budget(model, config, wanted).settings)
        return reparametrize(model, config)

    def _fields(self) -> dict[str, Any]:
        """Return those settings of the transformation that are fields of the recipe: those it has from refocusing."""
        recipe, own = self.recipe, dataclasses.fields(TRANSFORMS[resolved(self.recipe.method)].config_class)
        shared = {field.name for field in dataclasses.fields(RefocusConfig) if field in own}
        stated = {name: getattr(recipe, FIELDS[name]) for name in FIELDS if name in shared}
        if "map_size" in stated and len(recipe.map_size) == 1:  # of all dimensions
            (stated["map_size"],) = recipe.map_size
        return {name: None if value == () else value for name, value in stated.items()}  # without a pattern: None


class KernelSpace(Transformed):
    """Refocusing in kernel space: refocus weights are trained, by any optimizer, and decay unless ``decay`` is none."""

    space = "kernel"

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return timm's optimizer, with a group for refocus weights that are not decayed.

        It is fused where it can be: there may be ten times as many refocus weights as other ones, and what it would
        read and write in several passes takes longer than the rest of refocusing.
        """
        names = {name for name, _ in model.named_parameters() if name.endswith("refocus_weight")}
        exempt = names if self.recipe.decay == "none" else set()
        return make_optimizer(model, self.recipe, exempt=exempt, fused=True)


class GradientSpace(Transformed):
    """Refocusing in gradient space: the model stays as it is, and the optimizer rewrites the gradients of kernels."""

    space = "gradient"

    def check(self) -> None:
        if self.recipe.budget is not None:
            what = "gradient space trains no refocus weights, so there is nothing to size"
            raise RecipeError(what, where="budget", remedy="space = kernel")
        super().check()

    def change(self, model: nn.Module) -> Plan:
        return plan(model, self.config())

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return SGD on the plain kernels. It clips itself, by the norm that kernel space would measure."""
        recipe, config, name = self.recipe, self.config(), self.recipe.opt.lower()
        assert isinstance(config, RefocusConfig)
        nesterov, decay = NESTEROV[name.removeprefix(LOOKAHEAD)], cast("Decay", recipe.decay)
        settings = {"nesterov": nesterov, "max_norm": recipe.clip_grad, **recipe.opt_kwargs}
        with checked(model, recipe):
            groups = param_groups(model, config=config, groups=parameter_groups(model, recipe), decay=decay)
            optimizer = RefocusSGD(groups, lr=recipe.lr, momentum=recipe.momentum, **settings)
        return Lookahead(optimizer) if name.startswith(LOOKAHEAD) else optimizer

    def clipping(self, model: nn.Module) -> None:
        """Return nothing: the optimizer clips."""

    def new_round(self, model: nn.Module, optimizer: Optimizer) -> None:
        inner = inner_optimizer(optimizer)
        assert isinstance(inner, RefocusSGD)
        inner.rebase()


def refocusing(recipe: Recipe) -> Method:
    """Return refocusing in the space that the recipe names or implies."""
    return GradientSpace(recipe) if space_of(recipe) == "gradient" else KernelSpace(recipe)


METHODS: dict[str, Callable[[Recipe], Method]] = {  # by the name that recipes give
    "plain": Method,
    "scratch": Scratch,
    "norm_fold": NormFold,
    **dict.fromkeys(TRANSFORMS, Transformed),
    "refocus": refocusing,
}


def method_of(recipe: Recipe) -> Method:
    """Return the method that a recipe names, with the recipe's settings checked."""
    if ":" in recipe.method or (recipe.method in TRANSFORMS and recipe.method not in METHODS):
        return Transformed(recipe)  # one of the user's own
    if recipe.method not in METHODS:
        expected, remedy = f"one of {', '.join(METHODS)}", did_you_mean(recipe.method, METHODS)
        raise RecipeError("unknown method", where="method", expected=expected, found=repr(recipe.method), remedy=remedy)
    return METHODS[recipe.method](recipe)
