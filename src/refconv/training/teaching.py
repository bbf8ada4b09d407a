"""Distillation: a teacher's soft targets beside the labels (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.errors import ModelError
from refconv.training.opening import open_model
from refconv.training.recipe import Recipe


class Teacher:
    """A frozen model and how much its opinion counts.

    Args:
        model: the teacher, on the device where training goes on.
        weight: of the teacher in the loss, from 0 to 1; the labels have the rest.
        temperature: T; both distributions are softened by it.
        autocast: the context of a forward.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        weight: float,
        temperature: float,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.weight, self.temperature, self._autocast = weight, temperature, autocast

    def loss(self, inputs: Tensor, outputs: Tensor, labelled: Tensor) -> Tensor:
        """Return (1 - weight) * labelled + weight * T^2 * KL(teacher || student), both at temperature T.

        Args:
            inputs: the batch as the student saw it.
            outputs: the student's outputs, [batch, classes].
            labelled: the student's loss on the labels.

        Raises:
            ModelError: if the teacher has other classes than the student.
        """
        with torch.no_grad(), self._autocast():
            opinion = self.model(inputs)
        if opinion.shape != outputs.shape:
            raise ModelError(
                "the teacher has other classes than the student",
                where="distill",
                expected=f"outputs of shape {list(outputs.shape)}",
                found=str(list(opinion.shape)),
            )
        t = self.temperature
        divergence = F.kl_div(
            F.log_softmax(outputs.float() / t, dim=1),
            F.log_softmax(opinion.float() / t, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.weight) * labelled + self.weight * t * t * divergence


def make_teacher(
    recipe: Recipe, device: torch.device, autocast: Callable[[], AbstractContextManager[object]]
) -> Teacher | None:
    """Open the teacher that a recipe names: a run, a model folder, a model's name, or weights of the student's model.

    Raises:
        ModelError: if it cannot be built.
        CheckpointError: if its weights are missing, damaged or do not fit.
    """
    if recipe.distill is None:
        return None
    if recipe.distill_checkpoint is not None:
        opened = open_model(recipe.distill_checkpoint, model=recipe.distill)
    else:
        opened = open_model(recipe.distill, pretrained=True, model=recipe.model)
    return Teacher(
        opened.model.to(device),
        weight=recipe.distill_alpha,
        temperature=recipe.distill_temperature,
        autocast=autocast,
    )
