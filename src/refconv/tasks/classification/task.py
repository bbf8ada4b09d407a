"""Classification: images or signals and their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from timm.data.mixup import Mixup
from torch import Tensor, nn

from refconv.data import Augmentation, Data, DataInfo, Samples, Split, Targets, open_data
from refconv.data.dataset import Batch
from refconv.data.disk import eval_transform
from refconv.data.preprocessing import IMAGE_MODES, Statement
from refconv.errors import ModelError, RecipeError
from refconv.models.model_input import of_recipe, stated_by
from refconv.models.opening import Opened, input_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.evaluation import ClassificationEvaluation, evaluation_of
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.image_data import augmentation_of
from refconv.tasks.task import NOTHING_FOUND, EvaluationRun, Network, Objective, Prediction, Source, Task, unfit
from refconv.tasks.teaching import make_teacher

if TYPE_CHECKING:
    from PIL import Image


_CLASSES_SHOWN = 5
_AUXILIARY = {"InceptionOutputs": 0.4}
"""Weight of the losses of auxiliary classifiers, by the type of the outputs, where it is not 0.3.

0.3 is GoogLeNet's (Szegedy et al. 2014, arXiv 1409.4842, section 5), 0.4 the one Inception v3 is trained with.
"""


class Classification(Task):
    """One class for each sample: cross-entropy, top-1, top-5, calibration."""

    name = "classification"
    prepares_images = True
    without_effect: ClassVar[Mapping[str, str]] = {
        "backbone": "a classifier is its own backbone",
        "backbone_checkpoint": "give the weights of the whole model by checkpoint",
    }

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open images in folders, small sets in memory, or whatever timm knows."""
        augmentation = augmentation_of(recipe, Augmentation)
        stated = (stated_by(recipe), of_recipe(recipe) if model is None else model)
        settings = {**Source.of(recipe).settings, "in_chans": recipe.in_chans, "stated": stated}
        return open_data(recipe.data, augmentation=augmentation, **settings)

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with."""
        settings = {**source.settings, "in_chans": opened.arguments.get("in_chans"), "stated": opened.statements}
        return open_data(source.name, for_training=False, **settings)

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check for logits, alone or with those of auxiliary classifiers."""
        _logits(model(samples))

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for logits [batch, at least the number of classes]."""
        logits = isinstance(outputs, Tensor) and outputs.ndim == 2
        if not logits or outputs.shape[1] < info.num_classes:
            what, expected = "the model's output does not fit the classes of the data", [len(samples), info.num_classes]
            remedy = "give the model that many classes" if logits else "let its forward return the logits alone"
            raise unfit(model, outputs, what, expected=str(expected), remedy=remedy)

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the cross-entropy, of mixed samples and beside a teacher's logits where the recipe says so."""
        mixing = make_mixing(recipe, info, batch_size=part_size, processes=processes.world_size)
        criterion = make_loss(recipe)
        autocast = autocasting(processes.device, recipe.amp)
        teacher = make_teacher(recipe, processes.device, info)

        def objective(network: Network, inputs: Samples, labels: Targets) -> Tensor:
            if mixing is not None:
                inputs, labels = mixing(inputs, labels)
            with autocast():
                outputs, auxiliary, weight = _logits(network(inputs))
            loss = criterion(outputs.float(), labels)
            for other in auxiliary:
                loss = loss + weight * criterion(other.float(), labels)
            return loss if teacher is None else teacher.loss(inputs, outputs, loss)

        return objective

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a classifier."""
        judged = self.judged(model, batches, run)
        pairs = ((outputs, labels.to(run.device, non_blocking=True)) for _, outputs, labels in judged)
        return evaluation_of(pairs, run.device, run.processes)

    def predict(self, opened: Opened, image: Image.Image, *, device: torch.device, threshold: float) -> Prediction:
        """Return the first classes with their probabilities."""
        preprocessing = input_of(opened)
        sample = eval_transform(preprocessing)(image.convert(IMAGE_MODES[preprocessing.in_chans]))[None].to(device)
        probabilities = opened.model(sample).float().softmax(dim=1)[0].cpu()
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


def make_mixing(recipe: Recipe, info: DataInfo, *, batch_size: int, processes: int = 1) -> Mixup | None:
    """Return what mixes samples and labels of a batch of one process, if the recipe asks for it."""
    if not (recipe.mixup or recipe.cutmix):
        return None
    if info.train_size < batch_size * processes:  # the only batch is smaller, and shared out
        shares = {info.train_size // processes, -(-info.train_size // processes)}
    else:
        shares = {batch_size}
    odd = [share for share in sorted(shares) if share % 2]
    if odd:
        expected = "an even number of samples in each process and part"
        raise RecipeError("mixup and cutmix need pairs", where="batch_size", expected=expected, found=str(odd[0]))
    if recipe.cutmix and len(info.input_size) != 3:
        raise RecipeError("cutmix needs images", where="cutmix", found=f"samples of shape {list(info.input_size)}")
    mixed = {"mixup_alpha": recipe.mixup, "cutmix_alpha": recipe.cutmix, "label_smoothing": recipe.smoothing}
    how = {"prob": recipe.mixup_prob, "switch_prob": recipe.mixup_switch_prob, "mode": recipe.mixup_mode}
    return Mixup(**mixed, **how, num_classes=recipe.num_classes or info.num_classes)


def make_loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the cross-entropy of the recipe; where samples are mixed, the labels are smoothed there already."""
    return nn.CrossEntropyLoss(label_smoothing=0.0 if recipe.mixup or recipe.cutmix else recipe.smoothing)


def _logits(outputs: Any) -> tuple[Tensor, list[Tensor], float]:
    """Return the logits of a classifier in training mode, those of auxiliary classifiers, and the weight of these."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    found = [entry for entry in several if entry is not None]
    if not found or any(not isinstance(entry, Tensor) or entry.shape != found[0].shape for entry in found):
        what, remedy = "the model's outputs in training mode are not logits", "let its forward return the logits"
        expected = "a tensor [batch, classes], or a tuple of the logits and those of auxiliary classifiers"
        raise ModelError(what, where="model", expected=expected, found=type(outputs).__name__, remedy=remedy)
    return found[0], found[1:], _AUXILIARY.get(type(outputs).__name__, 0.3)
