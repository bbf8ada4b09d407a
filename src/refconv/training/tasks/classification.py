"""Classification: images or signals and their classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refconv.errors import DataError, ModelError
from refconv.training.data import Augmentation, Data, DataInfo, Samples, Split, Targets, open_data
from refconv.training.data.disk import IMAGE_MODES
from refconv.training.data.pipeline import eval_transform
from refconv.training.data.sources import SOURCES
from refconv.training.distributed import Processes
from refconv.training.evaluation import ClassificationEvaluation, autocasting, check_classes, evaluate
from refconv.training.optimization import make_loss, make_mixing
from refconv.training.recipe import Recipe
from refconv.training.tasks.prediction import Prediction
from refconv.training.tasks.task import Network, Objective, Task, refuse
from refconv.training.teaching import make_teacher

if TYPE_CHECKING:
    from PIL import Image

    from refconv.training.opening import Opened

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

    def open_data(self, recipe: Recipe) -> Data:
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
                crop_pct=recipe.crop_pct,
            ),
            workers=recipe.workers,
            in_chans=recipe.in_chans,
            img_size=recipe.img_size,
            mean=recipe.mean,
            std=recipe.std,
        )

    def data_for(
        self,
        opened: Opened,
        name: str | None = None,
        *,
        root: str | None = None,
        img_size: int | None = None,
        workers: int = 0,
    ) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with.

        Raises:
            DataError: if no data is named, or it cannot be opened.
        """
        recipe = opened.recipe
        if name is None and recipe is None:
            raise DataError("no data named", where="data", remedy="give --data")
        known: dict[str, Any] = dict(opened.preprocessing)
        if recipe is not None:
            for key in ("mean", "std", "interpolation", "crop_pct", "img_size"):
                if getattr(recipe, key) is not None:
                    known[key] = getattr(recipe, key)
        size = known.get("input_size", ())
        own = recipe if recipe is not None and name in {None, recipe.data} else None
        chosen = name or (recipe.data if recipe is not None else "")
        # Samples in memory are taken whole; images on disk are cropped as the model's own were.
        crop_pct = None if chosen in SOURCES else known.get("crop_pct")
        interpolation = known.get("interpolation", "bilinear")
        return open_data(
            chosen,
            root=root or (own.data_dir if own is not None else None),
            val_split=own.val_split if own is not None else 0.0,
            augmentation=Augmentation(
                interpolation="bilinear" if interpolation == "random" else interpolation, crop_pct=crop_pct
            ),
            workers=workers,
            in_chans=opened.arguments.get("in_chans"),
            img_size=img_size or known.get("img_size") or (size[-1] if len(size) == 3 else None),
            mean=_numbers(known.get("mean")),
            std=_numbers(known.get("std")),
        )

    def check_training(self, model: nn.Module, samples: Samples) -> None:
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
        teacher = make_teacher(recipe, processes.device, autocast)

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
        """Evaluate a classifier; see :func:`refconv.training.evaluation.evaluate`."""
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
    known = {**getattr(opened.model, "pretrained_cfg", {}), **opened.preprocessing}
    size = tuple(known.get("input_size") or ())
    if len(size) != 3 or size[0] not in IMAGE_MODES:
        raise DataError(
            "the model takes no images",
            where=opened.name,
            expected="input of 1 or 3 channels, height and width",
            found=f"input_size={list(size)}" if size else "no input_size in its config.json",
        )
    mean, std = (_numbers(known.get(key)) or default for key, default in (("mean", (0.5,)), ("std", (0.5,))))
    info = DataInfo("", 0, size[0], size, mean, std, (), 0, 0, 0)
    interpolation = known.get("interpolation", "bilinear")
    augmentation = Augmentation(interpolation="bilinear" if interpolation == "random" else interpolation)
    transform = eval_transform(info, augmentation, crop_pct=known.get("crop_pct"))
    return lambda image: transform(image.convert(IMAGE_MODES[size[0]]))


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
