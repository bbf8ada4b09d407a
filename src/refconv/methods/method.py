"""A training method: it prepares the model, makes its optimizer, and begins new rounds."""

from __future__ import annotations

from collections.abc import Callable

from timm.utils.clip_grad import dispatch_clip_grad
from torch import nn
from torch.optim import Optimizer

from refconv.errors import RecipeError
from refconv.methods.norm_fold import keep_statistics
from refconv.methods.optimizers import inner_optimizer, make_optimizer
from refconv.methods.sizes import check_budget
from refconv.recipe.recipe import Recipe, Space
from refconv.surgery import Plan, rebase


class Method:
    """How one recipe trains a model. The class itself is plain training; other methods override what they change.

    The loop, the order of the data and the seeds are the same for all methods, and
    :func:`refconv.surgery.plain_state_dict` takes the plain result out of the model that any of them has trained.
    """

    inherits = True
    space: Space | None = None

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.check()

    def check(self) -> None:
        """Refuse ``method_kwargs``, and a budget where nothing has a size."""
        for name in self.recipe.method_kwargs:
            raise RecipeError(f"{self.recipe.method} has no such setting", where=f"method_kwargs.{name}")
        check_budget(self.recipe)

    def prepare(self, model: nn.Module) -> Plan | None:
        """Prepare a plain model in place, on its device and with its weights loaded."""
        return None

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of everything trainable in a prepared model."""
        return make_optimizer(model, self.recipe)

    def clipping(self, model: nn.Module) -> Callable[[], None] | None:
        """Return what clips the gradients before the optimizer's step; None if nothing is to.

        Adaptive clipping leaves the classifier alone, as its authors do and as timm does.
        """
        limit, mode = self.recipe.clip_grad, self.recipe.clip_mode
        if limit is None:
            return None
        find = getattr(model, "get_classifier", None)
        head = find() if mode == "agc" and callable(find) else None
        left_out = {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
        parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in left_out]
        return lambda: dispatch_clip_grad(parameters, limit, mode=mode)

    def new_round(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Make the current kernels the bases of a new round."""
        for parameter in rebase(model):
            optimizer.state.pop(parameter, None)
            inner_optimizer(optimizer).state.pop(parameter, None)


class Plain(Method):
    """Ordinary training, or ordinary further training: the baseline with the same budget."""


class Scratch(Method):
    """Ordinary training of weights that are initialised from the recipe's seed, whatever weights it names."""

    inherits = False


class NormFold(Method):
    """Training with batch norms folded into fixed scales and shifts; see :mod:`refconv.methods.norm_fold`."""

    def prepare(self, model: nn.Module) -> None:
        """Let batch norms use and keep their running statistics."""
        keep_statistics(model)
