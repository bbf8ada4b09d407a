"""Embeddings: samples of one class near one another, by losses of pytorch-metric-learning."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from refconv.data import Data, DataInfo, Samples
from refconv.data.preprocessing import Statement
from refconv.data.targets import CLASSES, Wanted
from refconv.errors import RecipeError
from refconv.models.creation import ModelSpec
from refconv.models.opening import Opened
from refconv.process.randomness import derive_seed, seeded
from refconv.recipe.recipe import Recipe
from refconv.tasks.embedding.evaluation import evaluation_of
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.losses import Loss
from refconv.tasks.sample_task import NOT_MIXED, SampleTask, columns
from refconv.tasks.task import Prediction, Source, unfit
from refconv.tasks.teaching import Distance, of_directions

if TYPE_CHECKING:
    from PIL import Image


def _of_library(name: str, **settings: Any) -> Loss:
    try:
        losses = importlib.import_module("pytorch_metric_learning.losses")
    except ImportError as error:
        remedy = 'pip install "refconv[embedding]"'
        raise RecipeError("pytorch-metric-learning is not installed", where="loss", remedy=remedy) from error
    loss: Loss = getattr(losses, name)(**settings)
    return loss


class Embedding(SampleTask):
    """The model's features, or a projection to ``num_classes`` numbers: recall at k and mAP of retrieval."""

    name = "embedding"
    output_names = ("embedding",)
    least_outputs = 0
    compares_samples = True
    losses: ClassVar[Mapping[str, Callable[..., Loss]]] = {
        "triplet": partial(_of_library, "TripletMarginLoss"),
        "contrastive": partial(_of_library, "ContrastiveLoss"),
        "multi_similarity": partial(_of_library, "MultiSimilarityLoss"),
        "arcface": partial(_of_library, "ArcFaceLoss"),
    }
    without_effect: ClassVar[Mapping[str, str]] = {
        **SampleTask.without_effect,
        **NOT_MIXED,
        "smoothing": "there are no class outputs",
        "class_map": "the model has no classes",
    }

    def wanted(self, positive: str | None) -> Wanted:
        """Return that classes are wanted."""
        return CLASSES

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open data with classes, which the model has no outputs for."""
        data = _without_outputs(super().open_data(recipe, model))
        data.per_class = recipe.samples_per_class
        return data

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with any classes."""
        return _without_outputs(super().open_for(opened, source))

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for embeddings [batch, size]."""
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(samples) or not outputs.numel():
            what = "the model gives no embeddings"
            remedy = "give a model that with 0 classes returns its pooled features, as timm's do, or give num_classes"
            raise unfit(model, outputs, what, expected=f"[{len(samples)}, numbers]", remedy=remedy)

    def loss(self, recipe: Recipe, info: DataInfo, device: torch.device) -> Loss:
        """Return the loss; ArcFace gets the number of classes and the size of the embedding."""
        with seeded(derive_seed("loss", recipe.seed)):
            if recipe.loss == "arcface":
                own = {"num_classes": len(info.class_names), "embedding_size": _size(recipe, info)}
                recipe = dataclasses.replace(recipe, loss_kwargs={**own, **recipe.loss_kwargs})
            return super().loss(recipe, info, device)

    @property
    def distance(self) -> Distance:
        """The angle between two embeddings, as 1 - cosine."""
        return of_directions

    def evaluation(self, outputs: Tensor, targets: Tensor, data: Data) -> Evaluation:
        """Return how well samples of the split find others of their class."""
        return evaluation_of(outputs, targets)

    def predict(
        self, opened: Opened, image: Image.Image | Tensor, *, device: torch.device, threshold: float
    ) -> Prediction:
        """Return the embedding."""
        found = self.output_for(opened, image, device)
        return Prediction({"embedding": found.tolist()}, f"{len(found)} numbers, of length {found.norm():.4g}")


def _without_outputs(data: Data) -> Data:
    data.info = dataclasses.replace(data.info, num_classes=0)
    return data


@torch.no_grad()
def _size(recipe: Recipe, info: DataInfo) -> int:
    """Return the size of the embedding that the model of a recipe gives."""
    sample = torch.zeros(1, *info.input_size)
    return int(columns(ModelSpec.of_run(recipe, info).build().eval()(sample)).shape[1])
