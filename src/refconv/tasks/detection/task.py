"""Detection: boxes around objects, their classes, and perhaps their masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import detection, list_models
from torchvision.transforms.v2 import functional as v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from refconv.data import Augmentation, Data, DataInfo, Samples, Targets
from refconv.data.dataset import Batch, as_they_are
from refconv.data.preprocessing import IMAGE_MODES, Statement, resolve
from refconv.errors import DataError, RecipeError
from refconv.models.detectors import all_scores
from refconv.models.model_folder import architecture_of
from refconv.models.model_input import NOTHING, of_weights, stated_by
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import Certificate, verify
from refconv.tasks.detection.annotations import coco_tools
from refconv.tasks.detection.data import DetectionData
from refconv.tasks.detection.evaluation import ImageResult, evaluation_of, image_result
from refconv.tasks.detection.matching import divides_by_matches, matches_of, share_of_matches, whole
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.image_data import augmentation_of
from refconv.tasks.task import NOTHING_FOUND, EvaluationRun, Network, Objective, Prediction, Source, Task, unfit

if TYPE_CHECKING:
    from PIL import Image

    from refconv.models.opening import Opened


_LEGIBLE = 320  # pixels; pictures of smaller images are enlarged, so that names can be read
_OBJECTS_SHOWN = 10

_COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe",
)  # fmt: skip

_MIXED = "boxes of mixed images cannot be told apart"
_NO_SCORES = "detectors give boxes, not scores of classes"


class Detection(Task):
    """Boxes, classes and scores of objects: the detector's own losses, mean average precision.

    Models take a list of images [C, H, W] with values in [0, 1], and in training a list of targets as torchvision's
    detectors do (``boxes``, ``labels``, ``masks``); they give a dictionary of losses in training and a list of
    dictionaries (``boxes``, ``labels``, ``scores``, ``masks``) otherwise. They normalise and resize images themselves.
    """

    name = "detection"
    threshold = 0.5
    samples_certified = 4
    output_names = ("boxes", "labels", "scores")
    takes_lists = True
    compares_samples = True  # by the matched anchors of all
    backbones = ("backbone.body.", "backbone.features.", "backbone.")  # the rest is pyramid, maps and predictions
    without_effect: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("mixup", "cutmix", "mixup_prob", "mixup_switch_prob", "mixup_mode"), _MIXED),
        **dict.fromkeys(("distill", "distill_checkpoint", "distill_alpha", "distill_temperature"), _NO_SCORES),
        "distill_features": _NO_SCORES,
        **dict.fromkeys(("smoothing", "loss", "loss_kwargs"), "the detector brings its own loss"),
        "aa": "its policies move images and leave boxes",
        "re_prob": "what is erased would keep its box",
        "pad_crop": "give scale for a random crop",
        **dict.fromkeys(
            ("crop_pct", "interpolation", "train_interpolation"),
            "detectors see whole images, which they resize themselves",
        ),
        "drop": "detectors have no dropout; drop_path reaches the backbone",
    }

    def check(self, recipe: Recipe) -> None:
        """Refuse settings without effect, other images than colour ones, and what is no detector."""
        super().check(recipe)
        if recipe.in_chans not in {None, 3}:
            found = str(recipe.in_chans)
            raise RecipeError("detectors take colour images", where="in_chans", expected="3", found=found)
        source, separator, name = architecture_of(recipe.model).partition(":")
        if not separator or (source == "torchvision" and name not in list_models(module=detection)):
            expected = "detector:HEAD with a backbone, torchvision:NAME of a detector, or module:function"
            told = {"expected": expected, "remedy": f"give --model detector:ssdlite --backbone {name or source}"}
            raise RecipeError("is not a detector", where=f"model = {recipe.model}", **told)
        if source not in {"detector", "torchvision"}:
            reason = f"{recipe.model} normalises and resizes images as it likes: use model_kwargs"
            self.refuse(recipe, dict.fromkeys(("img_size", "mean", "std"), reason))
        if source != "detector":
            self.refuse(recipe, {"backbone": "only detector:HEAD takes a backbone"})

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> DetectionData:
        """Open scenes, COCO's json or Pascal VOC's folders; masks only for models that look at them.

        The data holds images as they are. Its mean and std say how the model is to normalise them, where that is not
        left to the model: as the recipe says, or as the classifier was trained that its backbone starts from.
        """
        coco_tools()
        augmentation, masks = augmentation_of(recipe, Augmentation), _looks_at_masks(recipe.model)
        settings = {**Source.of(recipe).settings, "img_size": recipe.img_size}
        data = DetectionData(recipe.data, augmentation=augmentation, masks=masks, **settings)
        if model is None:
            model = of_weights(recipe.backbone_checkpoint) if recipe.backbone_checkpoint is not None else NOTHING
        left = Statement("data", {"mean": data.info.mean, "std": data.info.std})  # 0 and 1: to the model's builder
        used = resolve([stated_by(recipe), model, left], in_chans=data.info.in_chans, where=data.info.name)
        data.info = dataclasses.replace(data.info, mean=used.mean, std=used.std)
        data.preprocessing = as_they_are(self.name, data.info.input_size, used.mean, used.std)
        return data

    def open_for(self, opened: Opened, source: Source) -> DetectionData:
        """Open data for a model that was opened."""
        coco_tools()
        if opened.flags:
            what = "a detector resizes and normalises images itself, as it was built"
            raise DataError(what, where=", ".join(opened.flags), remedy="leave it out, or train with another")
        return DetectionData(source.name, masks=_looks_at_masks(opened.name), **source.settings)

    def random_samples(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Return a list of random images; see :meth:`refconv.tasks.task.Task.random_samples`."""
        return list(super().random_samples(shape))

    def certify(self, before: nn.Module, after: nn.Module, samples: Samples | None) -> Certificate:
        """Compare two detectors; where both detect nothing, all boxes are compared, whatever their scores."""
        certificate = verify(before, after, samples)
        undecided = certificate.same_outputs is None and not (certificate.uncompared or certificate.not_finite)
        if samples is None or not undecided:
            return certificate
        with all_scores(before, after):
            return verify(before, after, samples)

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for one dictionary of boxes, labels and scores per image."""
        entries = outputs if isinstance(outputs, (list, tuple)) else []
        if len(entries) != len(samples) or not all(_is_detected(entry) for entry in entries):
            expected = "a list of dictionaries with boxes [n, 4], labels [n] and scores [n], one per image"
            remedy = "try detector:ssdlite with --backbone"
            raise unfit(model, outputs, "the model is not a detector", expected=expected, remedy=remedy)

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check for a dictionary of losses, on the objects that training looks at."""
        _summed(model(samples, targets), where=type(model).__name__)

    def warning(self, model: nn.Module, recipe: Recipe) -> str | None:
        """Warn that parts of a batch count alike in detectors that divide their losses by the matched anchors."""
        if recipe.grad_accum_steps == 1 or not divides_by_matches(model):
            return None
        return (
            f"warning: {type(model).__name__} divides its losses by the matched anchors of one forward pass, so with "
            f"--grad-accum-steps {recipe.grad_accum_steps} a step is the mean of its parts' losses, not the loss of "
            "the whole batch"
        )

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the sum of the detector's losses, which of several processes have the denominators of one."""
        autocast = autocasting(processes.device, recipe.amp)

        def objective(network: Network, images: Samples, targets: Targets) -> Tensor:
            counts = not processes.alone and divides_by_matches(whole(network))
            noting: AbstractContextManager[list[int]] = matches_of(whole(network)) if counts else nullcontext([])
            with autocast(), noting as matches:
                losses = network(images, targets)
            loss = _summed(losses, where=recipe.model)
            return loss * share_of_matches(matches[0], len(images), processes) if counts else loss

        return objective

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a detector."""
        data = run.data
        assert isinstance(data, DetectionData)
        own: list[ImageResult] = []
        masks = data.has_masks
        for images, outputs, targets in self.judged(model, batches, run):
            masks = masks and all("masks" in output for output in outputs)
            own += [
                image_result(target, output, tuple(image.shape[-2:]), masks=masks)
                for image, target, output in zip(images, targets, outputs, strict=True)
            ]
        results = [result for share in run.processes.gathered(own) for result in share]
        return evaluation_of(results, data.info.class_names, is_voc=data.is_voc)

    def definitions(self, data: Data) -> dict[str, str]:
        """Return how difficult objects are judged, for data in VOC's layout."""
        if not (isinstance(data, DetectionData) and data.is_voc):
            return {}
        words = "COCO's, of boxes, VOC's difficult objects left out by VOC's rule; overlaps"
        return {"map": f"{words} from 0.5 to 0.95", "map50": f"{words} of 0.5", "map75": f"{words} of 0.75"}

    def predict(self, opened: Opened, image: Image.Image, *, device: torch.device, threshold: float) -> Prediction:
        """Return the objects above the minimum score, the highest first, and a picture with their boxes."""
        pixels = v2.pil_to_tensor(image.convert(IMAGE_MODES[opened.arguments.get("in_chans") or 3]))
        sample = v2.to_dtype(pixels, torch.float32, scale=True).to(device)
        (output,) = self.outputs(opened.model, [sample], DataInfo("", 0, 3, (), (), (), (), 0, 0, 0))
        output = {name: value.cpu() for name, value in output.items()}
        chosen = output["scores"] >= threshold
        order = output["scores"][chosen].argsort(descending=True, stable=True)
        boxes, labels, scores = (output[name][chosen][order] for name in ("boxes", "labels", "scores"))
        masks = output["masks"][chosen][order, 0] > 0.5 if "masks" in output else None
        names = [opened.class_name(label - 1) for label in labels.tolist()]
        rows = [
            {"class": label - 1, "name": name, "score": score, "box": [round(number, 2) for number in box]}
            for label, name, score, box in zip(labels.tolist(), names, scores.tolist(), boxes.tolist(), strict=True)
        ]
        if masks is not None:
            for row, area in zip(rows, masks.flatten(1).sum(1).tolist(), strict=True):
                row["area"] = area
            masks = masks.flip(0)
        tags = [f"{row['name']} {row['score']:.0%}" for row in rows]
        more = f", ... ({len(rows)} objects)" if len(rows) > _OBJECTS_SHOWN else ""
        # The highest score is drawn last, on top of the others.
        picture = draw_objects(image.convert("RGB"), boxes.flip(0), tags[::-1], labels.flip(0), masks)
        return Prediction({"objects": rows}, (", ".join(tags[:_OBJECTS_SHOWN]) or NOTHING_FOUND) + more, picture)

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return an image with the boxes and masks of its objects."""
        labels = target["labels"]
        masks = target["masks"].bool() if "masks" in target else None
        names = [class_names[label - 1] for label in labels.tolist()]
        return draw_objects(image, target["boxes"], names, labels, masks)


def _is_detected(entry: Any) -> bool:
    """Return whether an output holds boxes [n, 4], labels [n] and scores [n]."""
    boxes, labels, scores = (isinstance(entry, Mapping) and entry.get(name) for name in ("boxes", "labels", "scores"))
    if not (isinstance(boxes, Tensor) and isinstance(labels, Tensor) and isinstance(scores, Tensor)):
        return False
    return tuple(boxes.shape) == (len(scores), 4) and tuple(labels.shape) == (len(scores),)


def _summed(losses: Any, *, where: str) -> Tensor:
    """Return the sum of a detector's losses."""
    if not isinstance(losses, Mapping) or not losses:
        expected = "a dictionary of losses, as torchvision's detectors give"
        raise unfit(where, losses, "the model returns no losses in training", expected=expected)
    return torch.stack([loss.float() for loss in losses.values()]).sum()


def _looks_at_masks(model: str) -> bool:
    return "mask" in architecture_of(model).lower()


def draw_objects(
    image: Image.Image, boxes: Tensor, words: list[str], labels: Tensor, masks: Tensor | None
) -> Image.Image:
    """Draw boxes [n, 4] with words, and masks bool [n, H, W], on an image, enlarged if small; one colour per class."""
    factor = max(1, _LEGIBLE // max(image.size))
    pixels = v2.pil_to_tensor(image.resize((image.width * factor, image.height * factor)))
    if len(boxes):
        colours = [_COLOURS[label % len(_COLOURS)] for label in labels.tolist()]
        if masks is not None:
            enlarged = masks.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            pixels = draw_segmentation_masks(pixels, enlarged, alpha=0.4, colors=colours)
        pixels = draw_bounding_boxes(pixels, boxes * factor, labels=words, colors=colours, width=2)
    drawn: Image.Image = v2.to_pil_image(pixels)
    return drawn
