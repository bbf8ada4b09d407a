"""Regression: one or several numbers a sample, scaled in training and given in their own units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from refconv.data import Data, DataInfo
from refconv.data.preprocessing import Statement
from refconv.data.targets import Wanted
from refconv.models.model_input import of_recipe
from refconv.models.opening import Opened
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.losses import Loss, huber, l1, l2
from refconv.tasks.regression.evaluation import evaluation_of
from refconv.tasks.sample_task import NOT_MIXED, SampleTask
from refconv.tasks.task import Prediction, Source
from refconv.tasks.teaching import Distance, of_values

if TYPE_CHECKING:
    from PIL import Image


class Regression(SampleTask):
    """Numbers: squared, absolute or Huber's loss, MAE, RMSE, R2.

    The model gives (value - mean) / standard deviation of the training targets, which are stored with it; measures and
    predictions are in the units of the data.
    """

    name = "regression"
    output_names = ("values",)
    losses: ClassVar = {"l2": l2, "l1": l1, "huber": huber}
    without_effect: ClassVar[Mapping[str, str]] = {
        **SampleTask.without_effect,
        **NOT_MIXED,
        "smoothing": "there are no classes",
    }

    def wanted(self, positive: str | None) -> Wanted:
        """Return that values are wanted."""
        return Wanted("values")

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open the data; targets are scaled as those of the run that training starts from, else by their own spread."""
        data = super().open_data(recipe, model)
        if recipe.target_scale == "none":
            return data
        known = of_recipe(recipe) if model is None else model
        if known.of_run and known.values.get("target_std") and not recipe.reset_classifier:
            return _scaled(data, known)
        targets = data.train_targets().double()
        counted = ~targets.isnan()
        count = counted.sum(dim=0)
        mean = targets.nan_to_num(0.0).sum(dim=0) / count
        std = ((targets - mean).nan_to_num(0.0).square().sum(dim=0) / count).sqrt()
        std = torch.where(std > 0, std, torch.ones_like(std))  # where all targets are equal
        return data.with_scale(mean.float().tolist(), std.float().tolist(), by="the training targets")

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data as in the training of a model, with the scale of its targets."""
        return _scaled(super().open_for(opened, source), opened.stated)

    def loss(self, recipe: Recipe, info: DataInfo, device: torch.device) -> Loss:
        """Return the loss of scaled values."""
        criterion = super().loss(recipe, info, device)
        if not info.target_std:
            return criterion
        mean, std = (torch.tensor(scale, device=device) for scale in (info.target_mean, info.target_std))

        def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
            return criterion(outputs, (targets - mean) / std)

        return scaled

    @property
    def distance(self) -> Distance:
        """The squared difference of scaled values."""
        return of_values

    def evaluation(self, outputs: Tensor, targets: Tensor, data: Data) -> Evaluation:
        """Return the evaluation in the units of the data."""
        mean, std = _scale(data.info.target_mean, data.info.target_std, outputs.shape[1])
        return evaluation_of(outputs * std + mean, targets, data.info.class_names, std)

    def predict(
        self, opened: Opened, image: Image.Image | Tensor, *, device: torch.device, threshold: float
    ) -> Prediction:
        """Return the values in the units of the data."""
        outputs = self.output_for(opened, image, device)
        stated = opened.stated.values
        mean, std = _scale(stated.get("target_mean") or (), stated.get("target_std") or (), len(outputs))
        values = (outputs * std + mean).tolist()
        named = {opened.class_name(number): value for number, value in enumerate(values)}
        return Prediction({"values": named}, ", ".join(f"{name} {value:.6g}" for name, value in named.items()))


def _scaled(data: Data, stated: Statement) -> Data:
    std = stated.values.get("target_std")
    return data.with_scale(stated.values["target_mean"], std, by=stated.by) if std else data


def _scale(mean: object, std: object, count: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per output; 0 and 1 where targets are not scaled."""
    return (torch.tensor(mean), torch.tensor(std)) if std else (torch.zeros(count), torch.ones(count))
