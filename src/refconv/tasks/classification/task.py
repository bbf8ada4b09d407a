"""Classification: images or signals and their classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refconv.data import Augmentation, Data, DataInfo, Samples, Split, Targets, open_data
from refconv.data.disk import eval_transform
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing, Statement
from refconv.errors import DataError, ModelError
from refconv.methods.optimization import make_loss, make_mixing
from refconv.models.model_input import of_recipe, stated_by
from refconv.models.opening import Opened, input_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import ClassificationEvaluation, autocasting, check_classes, evaluate
from refconv.tasks.prediction import Prediction
from refconv.tasks.task import Network, Objective, Task, refuse
from refconv.tasks.teaching import make_teacher

if TYPE_CHECKING:
    from PIL import Image


_CLASSES_SAID = 5

_AUXILIARY = {"InceptionOutputs": 0.4}
"""Weight of the losses of auxiliary classifiers, by the type of the outputs, where it is not 0.3.

0.3 is GoogLeNet's (Szegedy et al. 2014, arXiv 1409.4842, section 5), 0.4 the one Inception v3 is trained with.
"""


class Classification(Task):
    """One class for each sample: cross-entropy, top-1, top-5, calibration."""

    name = "classification"
    primary = "top1"

    def check(self, recipe: Recipe) -> None:
        """Refuse the settings of other tasks.

        Raises:
            RecipeError: if one is given.
        """
        refuse(
            recipe,
            self.name,
            {
                "backbone": "a classifier is its own backbone",
                "backbone_checkpoint": "give the weights of the whole model by checkpoint",
                "ignore_index": "it is for class maps",
                "noise": "it is for restoration",
                "upscale": "it is for restoration",
                "patch_size": "it is for restoration",
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

    def data_for(
        self,
        opened: Opened,
        name: str | None = None,
        *,
        root: str | None = None,
        workers: int = 0,
    ) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with.

        Raises:
            DataError: if no data is named, or it cannot be opened.
        """
        recipe = opened.recipe
        if name is None and recipe is None:
            raise DataError("no data named", where="data", remedy="give --data")
        own = recipe if recipe is not None and name in {None, recipe.data} else None
        return open_data(
            name or (recipe.data if recipe is not None else ""),
            root=root or (own.data_dir if own is not None else None),
            val_split=own.val_split if own is not None else 0.0,
            workers=workers,
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
        check_classes(model, samples, outputs, classes=info.num_classes)

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the cross-entropy, of mixed samples and beside a teacher's opinion where the recipe says so.

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

    def evaluate(
        self,
        model: nn.Module,
        data: Data,
        split: Split,
        *,
        batch_size: int,
        device: torch.device | None = None,
        amp: bool = False,
        channels_last: bool = False,
        processes: Processes | None = None,
    ) -> ClassificationEvaluation:
        """Evaluate a classifier; see :func:`refconv.tasks.evaluation.evaluate`."""
        return evaluate(
            model,
            data,
            split,
            batch_size=batch_size,
            device=device,
            amp=amp,
            channels_last=channels_last,
            processes=processes,
        )

    def preparation(self, opened: Opened) -> Preprocessing:
        """Return how single images are prepared for a model; see :func:`refconv.models.opening.input_of`."""
        return input_of(opened)

    def predict(
        self, model: nn.Module, images: list[Image.Image], opened: Opened, *, device: torch.device, threshold: float
    ) -> list[Prediction]:
        """Return the first classes with their probabilities.

        Raises:
            DataError: if the model takes signals.
        """
        prepare = _transform(opened)
        found = []
        for image in images:
            with torch.no_grad():
                probabilities = model(prepare(image)[None].to(device)).float().softmax(dim=1)[0].cpu()
            count = min(_CLASSES_SAID, len(probabilities))
            shares, classes = (values.tolist() for values in probabilities.topk(count))
            names = [opened.class_name(index) for index in classes]
            said = [
                {"class": index, "name": name, "probability": share}
                for index, name, share in zip(classes, names, shares, strict=True)
                if share >= threshold
            ]
            words = ", ".join(f"{entry['name']} {entry['probability']:.1%}" for entry in said) or "nothing so sure"
            found.append(Prediction({"classes": said}, words))
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
            "its outputs in training mode are no logits",
            where="model",
            expected="a tensor [batch, classes], or a tuple of the logits and those of auxiliary classifiers",
            found=type(outputs).__name__,
            remedy="let its forward return the logits",
        )
    return found[0], found[1:], _AUXILIARY.get(type(outputs).__name__, 0.3)


def _transform(opened: Opened) -> Callable[[Image.Image], Tensor]:
    """Return what prepares an image as in the evaluation of a model.

    Raises:
        DataError: if the size of its input is not known, or it takes signals.
    """
    preprocessing = input_of(opened)
    transform = eval_transform(preprocessing)
    return lambda image: transform(image.convert(IMAGE_MODES[preprocessing.in_chans]))
