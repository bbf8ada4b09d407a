"""Classification: images or signals and their classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refconv.data import Augmentation, Data, DataInfo, Samples, Split, Targets, open_data
from refconv.data.dataset import Batch
from refconv.data.disk import eval_transform
from refconv.data.preprocessing import IMAGE_MODES, Statement
from refconv.errors import ModelError
from refconv.models.model_input import of_recipe, stated_by
from refconv.models.opening import Opened, input_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.evaluation import ClassificationEvaluation, evaluation_of
from refconv.tasks.classification.loss import make_loss, make_mixing
from refconv.tasks.evaluation import autocasting
from refconv.tasks.prediction import NOTHING_FOUND, Prediction
from refconv.tasks.task import EvaluationRun, Network, Objective, Source, Task, refuse, unfit
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

    def check(self, recipe: Recipe) -> None:
        """Refuse a separate backbone.

        Raises:
            RecipeError: if one is given.
        """
        super().check(recipe)
        refuse(
            recipe,
            self.name,
            {
                "backbone": "a classifier is its own backbone",
                "backbone_checkpoint": "give the weights of the whole model by checkpoint",
            },
        )

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open images in folders, small sets in memory, or whatever timm knows."""
        return open_data(
            recipe.data,
            root=recipe.data_dir,
            val_split=recipe.val_split,
            augmentation=Augmentation(
                hflip=recipe.hflip,
                pad_crop=recipe.pad_crop,
                scale=recipe.scale,
                ratio=recipe.ratio,
                auto_augment=recipe.aa,
                color_jitter=recipe.color_jitter,
                re_prob=recipe.re_prob,
                interpolation=recipe.interpolation,
            ),
            workers=recipe.workers,
            in_chans=recipe.in_chans,
            stated=(stated_by(recipe), of_recipe(recipe) if model is None else model),
        )

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with."""
        return open_data(
            source.name,
            root=source.root,
            val_split=source.val_split,
            workers=source.workers,
            in_chans=opened.arguments.get("in_chans"),
            stated=opened.statements,
            for_training=False,
        )

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check for logits, alone or with those of auxiliary classifiers.

        Raises:
            ModelError: if the outputs are something else.
        """
        _logits(model(samples))

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for logits [batch, at least the number of classes].

        Raises:
            ModelError: if the outputs are something else.
        """
        logits = isinstance(outputs, Tensor) and outputs.ndim == 2
        if not logits or outputs.shape[1] < info.num_classes:
            raise ModelError(
                "the model's output does not fit the classes of the data",
                **unfit(model, outputs),
                expected=f"[{len(samples)}, {info.num_classes}]",
                remedy="give the model that many classes" if logits else "let its forward return the logits alone",
            )

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the cross-entropy, of mixed samples and beside a teacher's logits where the recipe says so.

        Raises:
            RecipeError: if samples cannot be mixed.
            ModelError: if the teacher cannot be built.
            CheckpointError: if the teacher's weights do not fit.
        """
        mixing = make_mixing(recipe, info, batch_size=part_size, processes=processes.world_size)
        criterion = make_loss(recipe)
        autocast = autocasting(processes.device, recipe.amp)
        teacher = make_teacher(recipe, processes.device, autocast, info)

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

    def evaluate_batches(
        self, model: nn.Module, data: Data, batches: Iterable[Batch], run: EvaluationRun
    ) -> ClassificationEvaluation:
        """Evaluate a classifier.

        Raises:
            ModelError: if the model does not take the samples, or gives too few classes.
        """

        def judged() -> Iterator[tuple[Tensor, Tensor]]:
            for inputs, labels in batches:
                with run.autocast():
                    outputs = self.outputs(model, run.place(inputs), data.info)
                yield outputs, labels.to(run.device, non_blocking=True)

        return evaluation_of(judged(), run.device, run.processes)

    def predict(
        self, model: nn.Module, images: list[Image.Image], opened: Opened, *, device: torch.device, threshold: float
    ) -> list[Prediction]:
        """Return the first classes with their probabilities.

        Raises:
            DataError: if the model takes signals.
        """
        preprocessing = input_of(opened)
        prepare = eval_transform(preprocessing)
        found = []
        for image in images:
            sample = prepare(image.convert(IMAGE_MODES[preprocessing.in_chans]))[None].to(device)
            probabilities = model(sample).float().softmax(dim=1)[0].cpu()
            shares, classes = (
                values.tolist() for values in probabilities.topk(min(_CLASSES_SHOWN, len(probabilities)))
            )
            shown = [
                {"class": index, "name": opened.class_name(index), "probability": share}
                for index, share in zip(classes, shares, strict=True)
                if share >= threshold
            ]
            words = ", ".join(f"{entry['name']} {entry['probability']:.1%}" for entry in shown)
            found.append(Prediction({"classes": shown}, words or NOTHING_FOUND))
        return found


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
    """Evaluate a classifier; see :meth:`refconv.tasks.task.Task.evaluate`.

    Args:
        model: a classifier on ``device``, plain or refocused.
        data: the data.
        split: ``train``, ``val`` or ``test``; training samples are not augmented.
        batch_size: samples at a time, in each process.
        device: where the model is; by default where its first parameter is.
        amp: compute in bf16 where that is safe.
        channels_last: give images in channels-last format.
        processes: the processes that share the work; by default this one alone.

    Raises:
        ModelError: if the model does not take the samples, or gives too few classes.
    """
    found = Classification().evaluate(
        model,
        data,
        split,
        batch_size=batch_size,
        device=device,
        amp=amp,
        channels_last=channels_last,
        processes=processes,
    )
    assert isinstance(found, ClassificationEvaluation)
    return found


def _logits(outputs: Any) -> tuple[Tensor, list[Tensor], float]:
    """Return what a classifier in training mode gives: logits, those of auxiliary classifiers, and the weight of these.

    Raises:
        ModelError: if that is neither logits nor a tuple of logits, [batch, classes] each.
    """
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    found = [entry for entry in several if entry is not None]
    if not found or any(not isinstance(entry, Tensor) or entry.shape != found[0].shape for entry in found):
        raise ModelError(
            "the model's outputs in training mode are not logits",
            where="model",
            expected="a tensor [batch, classes], or a tuple of the logits and those of auxiliary classifiers",
            found=type(outputs).__name__,
            remedy="let its forward return the logits",
        )
    return found[0], found[1:], _AUXILIARY.get(type(outputs).__name__, 0.3)
