"""Segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.data import Data, DataInfo, Samples, Targets
from refconv.data.dataset import Batch
from refconv.data.preprocessing import Statement
from refconv.data.scenes.layouts import voc_palette
from refconv.errors import DataError, RecipeError
from refconv.models.model_input import of_backbone, of_recipe, stated_by
from refconv.models.opening import Opened, input_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.image_data import augmentation_of
from refconv.tasks.losses import chosen_loss, class_weights
from refconv.tasks.segmentation.data import SegmentationAugmentation, SegmentationData, place_in_square, prepared
from refconv.tasks.segmentation.evaluation import SegmentationEvaluation, confusion_matrix, overlap
from refconv.tasks.task import EvaluationRun, Network, Objective, Prediction, Source, Task, unfit
from refconv.tasks.teaching import make_teacher

AUXILIARY_WEIGHT = 0.5  #: How much the auxiliary output counts in the loss, as in torchvision's reference training
_OVERLAY = 0.5
_CLASSES_SHOWN = 5
_OUTPUT, _AUXILIARY = "out", "aux"
_IGNORED = -100  # what torch's losses ignore, and what other losses than the task's own are given


class Segmentation(Task):
    """A class for every pixel: cross-entropy, mean IoU, pixel accuracy.

    Models return logits [batch, classes, H, W], or torchvision's mapping with ``out`` and perhaps an auxiliary ``aux``.
    """

    name = "segmentation"
    takes_softmax = True
    samples_certified = 8
    prepares_images = True
    backbones = ("backbone.", "encoder.")  # of torchvision and segmentation-models-pytorch; a decoder starts anew
    without_effect: ClassVar[Mapping[str, str]] = {
        "mixup": "two images have no one class per pixel",
        "cutmix": "its boxes are not cut out of the masks",
        "re_prob": "what is erased would keep its class",
        "aa": "its policies move images and leave masks",
        "pad_crop": "give scale for a random box",
        "crop_pct": "whole images are evaluated",
        "reset_classifier": "give the weights of the backbone by backbone_checkpoint",
    }

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open images and masks: folders, Pascal VOC, Cityscapes, scenes."""
        own = {name: getattr(recipe, name) for name in ("ignore_index", "num_classes", "in_chans")}
        augmentation = augmentation_of(recipe, SegmentationAugmentation)
        stated = (stated_by(recipe), _learned_from(recipe) if model is None else model)
        settings = {**Source.of(recipe).settings, **own, "stated": stated}
        return SegmentationData(recipe.data, augmentation=augmentation, **settings)

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with."""
        ends = {name: opened.arguments.get(name) for name in ("num_classes", "in_chans")}
        ignored = opened.recipe.ignore_index if opened.recipe is not None else 255
        settings = {**source.settings, **ends, "stated": opened.statements}
        return SegmentationData(source.name, ignore_index=ignored, **settings)

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for logits [batch, at least the number of classes, H, W], of the size of the images."""
        maps = outputs.get(_OUTPUT) if isinstance(outputs, Mapping) else outputs
        batch, _, *size = samples.shape
        shape = list(maps.shape) if isinstance(maps, Tensor) else []
        is_map = len(shape) == 4 and [shape[0], *shape[2:]] == [batch, *size]
        if not is_map or shape[1] < info.num_classes:
            remedy = "give the model that many classes" if is_map else "take a segmenter, such as smp:Unet"
            expected = f"logits of shape {[batch, info.num_classes, *size]}"
            raise unfit(model, maps, "the model's output does not fit the masks", expected=expected, remedy=remedy)

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the mean cross-entropy of a part's pixels, with that of an auxiliary output, or a teacher's logits.

        Ignored pixels count nowhere; a step weighs the parts by the pixels that do (:meth:`counting`).
        """
        autocast = autocasting(processes.device, recipe.amp)
        teacher = make_teacher(recipe, processes.device, info, resizes=False)
        given = {"cross_entropy": nn.CrossEntropyLoss}
        own = None if recipe.loss is None else chosen_loss(recipe, given, processes.device)

        def losses(maps: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
            if own is not None:
                return own(maps.float(), truth.masked_fill(truth == recipe.ignore_index, _IGNORED)) * counted
            return pixel_losses(maps, truth, ignored=recipe.ignore_index, smoothing=recipe.smoothing)

        def objective(network: Network, images: Samples, truth: Targets) -> Tensor:
            assert isinstance(truth, Tensor), type(truth)
            counted = (truth != recipe.ignore_index).sum().clamp(min=1)
            if teacher is not None:
                teacher.watch(network)
            with autocast():
                outputs = _in_training(network, images)
            maps, auxiliary = _maps(outputs)
            loss = losses(maps, truth, counted)
            if auxiliary is not None:
                loss = loss + AUXILIARY_WEIGHT * losses(auxiliary, truth, counted)
            if teacher is not None:
                logits, known = teacher.logits(images, maps), truth != recipe.ignore_index
                distance = teacher_losses(maps, logits, known, teacher.temperature)
                loss = (1 - teacher.weight) * loss + teacher.weight * distance
            loss = loss / counted
            return loss if teacher is None else teacher.with_features(loss)

        return objective

    def counting(self, recipe: Recipe) -> Callable[[Samples, Targets], float]:
        """Return what counts the pixels of a part that are not ignored, by the weights of their classes, if any."""
        weights = class_weights(recipe)

        def counted(images: Samples, truth: Targets) -> float:
            kept = truth != recipe.ignore_index
            return float(kept.sum() if weights is None else weights[truth[kept]].sum())

        return counted

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a segmenter."""
        data = run.data
        assert isinstance(data, SegmentationData), type(data)
        classes, ignored = data.info.num_classes, data.ignore_index
        matrix = torch.zeros(classes, classes + 1, dtype=torch.int64)
        loss, samples = 0.0, 0
        for images, outputs, targets in self.judged(model, batches, run):
            (maps, _), truth = _maps(outputs), targets.to(run.device, non_blocking=True)
            loss += float(pixel_losses(maps, truth, ignored=ignored))
            matrix += confusion_matrix(maps.argmax(1), truth, classes=classes, ignored=ignored).cpu()
            samples += len(images)
        loss, count, *cells = run.processes.sums([loss, float(samples), *map(float, matrix.flatten().tolist())])
        pixels = sum(cells)
        if not pixels:
            where = f"split {run.split!r} of {data.info.name}"
            raise DataError("every pixel is ignored", where=where, found=f"ignore_index={ignored}")
        known = range(classes) if data.matching is None else data.matching.outputs
        uncounted = {ignored, *range(classes)} - ({*known} - {ignored})
        found = overlap(torch.tensor(cells, dtype=torch.float64).view(classes, classes + 1), ignored=uncounted)
        means = (found.mean_iou, found.pixel_accuracy, found.mean_accuracy)
        class_iou = dict(zip(data.info.class_names, found.iou, strict=True))
        return SegmentationEvaluation(int(count), *means, loss / pixels, found.baseline, class_iou)

    def predict(self, opened: Opened, image: Image.Image, *, device: torch.device, threshold: float) -> Prediction:
        """Return the share of each class, the mask, and the image with the mask's colours laid over it."""
        preprocessing = input_of(opened)
        shape, mean, std = preprocessing.input_size, preprocessing.mean, preprocessing.std
        info = DataInfo("", 0, shape[0], shape, mean, std, (), 0, 0, 0)
        sample = prepared(image, preprocessing)[None].to(device)
        classes = _maps(self.outputs(opened.model, sample, info))[0].argmax(1)[0].to("cpu", torch.uint8).numpy()
        left, top, right, bottom = place_in_square(*image.size, size=shape[-1])
        whole = Image.fromarray(classes[top:bottom, left:right]).resize(image.size, Image.Resampling.NEAREST)
        numbers, counts = np.unique(np.asarray(whole), return_counts=True)
        shares = zip((counts / counts.sum()).tolist(), numbers.tolist(), strict=True)
        largest = sorted(shares, key=lambda share: (-share[0], share[1]))
        shown = [{"class": number, "name": opened.class_name(number), "share": share} for share, number in largest]
        words = ", ".join(f"{entry['name']} {entry['share']:.1%}" for entry in shown[:_CLASSES_SHOWN])
        more = f" and {len(shown) - _CLASSES_SHOWN} more" if len(shown) > _CLASSES_SHOWN else ""
        picture = overlay(image, whole, background=opened.class_name(0) == "background")
        return Prediction({"classes": shown}, words + more, picture, whole)

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return an image with its classes in colours laid over it."""
        classes = Image.fromarray(target.to(torch.uint8).numpy())
        return overlay(image, classes, background=list(class_names[:1]) == ["background"])


def pixel_losses(maps: Tensor, truth: Tensor, *, ignored: int, smoothing: float = 0.0) -> Tensor:
    """Return the sum, in float32, of the cross-entropies of all pixels but the ignored ones.

    ``maps`` are logits [batch, classes, H, W], ``truth`` the class of each pixel, int64 [batch, H, W].
    """
    maps = maps.float()
    if maps.is_cuda and torch.are_deterministic_algorithms_enabled():
        # Of maps torch has no deterministic loss there; of a list of pixels it has, which takes longer.
        maps, truth = maps.movedim(1, -1).flatten(0, -2), truth.flatten()
    return F.cross_entropy(maps, truth, ignore_index=ignored, label_smoothing=smoothing, reduction="sum")


def teacher_losses(maps: Tensor, teacher_logits: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) at temperature T, in float32, summed over the pixels that count."""
    student, teacher = (F.log_softmax(logits.float() / temperature, dim=1) for logits in (maps, teacher_logits))
    distances = (teacher.exp() * (teacher - student)).sum(1)
    return temperature**2 * (distances * counted).sum()


def _in_training(network: Network, images: Tensor) -> Any:
    """Run a model in training mode; name the remedy where a batch norm on pooled features sees a single value."""
    try:
        return network(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        what = "too few images for a batch norm that follows pooling over the whole image"
        expected = "at least 2 images in each process and part"
        raise RecipeError(what, where="batch_size", expected=expected, found=str(len(images))) from error


def _maps(outputs: Any) -> tuple[Tensor, Tensor | None]:
    """Return the logits of a model's output, and those of its auxiliary output, if there is one."""
    if isinstance(outputs, Mapping):
        return outputs[_OUTPUT], outputs.get(_AUXILIARY)
    return outputs, None


def _learned_from(recipe: Recipe) -> Statement:
    """Return what the weights say that a run starts from; the size of published ones is that of other images."""
    stated = of_recipe(recipe) or of_backbone(recipe)
    if stated.of_run and recipe.backbone_checkpoint is None:
        return stated
    return Statement(stated.by, {key: stated.values.get(key) for key in ("mean", "std")})


def overlay(image: Image.Image, classes: Image.Image, *, background: bool) -> Image.Image:
    """Lay the classes in their colours over an image; class 0 is left as it is where it is background."""
    palette = list(voc_palette())
    # The first of the colours is black, which suits a background alone.
    classes.putpalette(palette if background else [*palette[3:], *palette[:3]])
    strength = np.full((image.height, image.width), round(255 * _OVERLAY), dtype=np.uint8)
    if background:
        strength[np.asarray(classes) == 0] = 0
    return Image.composite(classes.convert("RGB"), image.convert("RGB"), Image.fromarray(strength))
