"""Classification: images or signals and their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.loss import BinaryCrossEntropy
from torch import Tensor, nn

from refconv.data import Data, DataInfo, Samples, Split, Targets
from refconv.data.dataset import Batch
from refconv.data.targets import CLASSES, Wanted
from refconv.errors import RecipeError
from refconv.models.opening import Opened
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.evaluation import ClassificationEvaluation, evaluation_of
from refconv.tasks.classification.mixing import SharedMixup
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.losses import Loss, chosen_loss, class_weights
from refconv.tasks.sample_task import Mixing, SampleTask
from refconv.tasks.task import NOTHING_FOUND, EvaluationRun, Prediction, unfit
from refconv.tasks.teaching import Distance, of_classes

if TYPE_CHECKING:
    from PIL import Image


_CLASSES_SHOWN = 5
_LOSSES = {"cross_entropy": nn.CrossEntropyLoss, "bce": BinaryCrossEntropy}


class Classification(SampleTask):
    """One class for each sample: cross-entropy, top-1, top-5, calibration."""

    name = "classification"
    takes_softmax = True

    def wanted(self, positive: str | None) -> Wanted:
        """Return that classes are wanted."""
        return CLASSES

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for logits [batch, at least the number of classes]."""
        logits = isinstance(outputs, Tensor) and outputs.ndim == 2
        if not logits or outputs.shape[1] < info.num_classes:
            what, expected = "the model's output does not fit the classes of the data", [len(samples), info.num_classes]
            remedy = "give the model that many classes" if logits else "let its forward return the logits alone"
            raise unfit(model, outputs, what, expected=str(expected), remedy=remedy)

    def mixing(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Mixing | None:
        """Return what mixes samples and labels, if the recipe asks for it."""
        return make_mixing(recipe, info, processes, part_size=part_size)

    def loss(self, recipe: Recipe, info: DataInfo, device: torch.device) -> Loss:
        """Return the cross-entropy, timm's binary cross-entropy of each class, or the user's own loss."""
        if recipe.loss == "bce":
            soft = recipe.mixup or recipe.cutmix  # smoothed there
            made = partial(BinaryCrossEntropy, smoothing=0.0 if soft else recipe.smoothing)
            return chosen_loss(recipe, {**_LOSSES, "bce": made}, device)
        if recipe.loss is not None and recipe.smoothing and not (recipe.mixup or recipe.cutmix):
            raise RecipeError("has no effect with a loss of your own", where="smoothing", remedy="smooth in the loss")
        return make_loss(recipe) if recipe.loss is None else chosen_loss(recipe, _LOSSES, device)

    def counting(self, recipe: Recipe) -> Callable[[Samples, Targets], float] | None:
        """Return what sums the weights of a part's classes, where the loss divides by them."""
        weights = class_weights(recipe)
        if weights is None or recipe.mixes:  # torch divides the loss of mixed classes by the samples
            return None
        return lambda samples, labels: float(weights[labels].sum())

    @property
    def distance(self) -> Distance:
        """The divergence of the classes' probabilities."""
        return of_classes

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a classifier."""
        judged = self.judged(model, batches, run)
        pairs = ((outputs, labels.to(run.device, non_blocking=True)) for _, outputs, labels in judged)
        return evaluation_of(pairs, run.device, run.processes)

    def predict(
        self, opened: Opened, image: Image.Image | Tensor, *, device: torch.device, threshold: float
    ) -> Prediction:
        """Return the first classes with their probabilities."""
        sample = self.sample_of(opened, image)[0][None].to(device)
        probabilities = self.run(opened.model, sample).float().softmax(dim=1)[0].cpu()
        highest = probabilities.topk(min(_CLASSES_SHOWN, len(probabilities)))
        shown = [
            {"class": index, "name": opened.class_name(index), "probability": share}
            for index, share in zip(highest.indices.tolist(), highest.values.tolist(), strict=True)
            if share >= threshold
        ]
        words = ", ".join(f"{entry['name']} {entry['probability']:.1%}" for entry in shown)
        return Prediction({"classes": shown}, words or NOTHING_FOUND)


def evaluate(
    model: nn.Module,
    data: Data,
    split: Split = "test",
    *,
    batch_size: int = 256,
    device: torch.device | None = None,
    amp: bool = False,
    channels_last: bool = False,
    processes: Processes | None = None,
) -> ClassificationEvaluation:
    """Evaluate a classifier on every sample of a split, once; the model's mode is put back afterwards.

    Args:
        model: a classifier on ``device``, plain or refocused.
        data: the data.
        split: the split; training samples are not augmented.
        batch_size: samples at a time, in each process.
        device: where the model is; by default where its first parameter is.
        amp: compute in bf16 where that is safe.
        channels_last: give images in channels-last format.
        processes: the processes that share the work; by default this one alone.

    Raises:
        ModelError: if the model does not take the samples, or gives too few classes.
    """
    how: dict[str, Any] = {"device": device, "amp": amp, "channels_last": channels_last, "processes": processes}
    found = Classification().evaluate(model, data, split, batch_size=batch_size, **how)
    assert isinstance(found, ClassificationEvaluation)
    return found


def make_mixing(recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> SharedMixup | None:
    """Return what mixes this process's samples and labels of a batch of all, if the recipe asks for it."""
    if not recipe.mixes:
        return None
    if recipe.cutmix and len(info.input_size) != 3:
        raise RecipeError("cutmix needs images", where="cutmix", found=f"samples of shape {list(info.input_size)}")
    mixed: dict[str, Any] = {
        "mixup_alpha": recipe.mixup,
        "cutmix_alpha": recipe.cutmix,
        "label_smoothing": recipe.smoothing,
    }
    mixed |= {"prob": recipe.mixup_prob, "switch_prob": recipe.mixup_switch_prob, "mode": recipe.mixup_mode}
    mixed |= {"num_classes": recipe.num_classes or info.num_classes}
    return SharedMixup(part_size, rank=processes.rank, world_size=processes.world_size, **mixed)


def make_loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the cross-entropy of the recipe; where samples are mixed, the labels are smoothed there already."""
    return nn.CrossEntropyLoss(label_smoothing=0.0 if recipe.mixup or recipe.cutmix else recipe.smoothing)
