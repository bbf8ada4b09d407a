"""Detection: boxes around objects, their classes, and perhaps their masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.ssd import SSD
from torchvision.transforms.v2 import functional as v2

from refconv.data import Augmentation, Data, DataInfo, Samples, Targets
from refconv.data.dataset import Batch
from refconv.data.preprocessing import IMAGE_MODES, Statement, as_they_are
from refconv.errors import DataError, ModelError, RecipeError
from refconv.models.detectors import all_scores, is_detector
from refconv.models.model_folder import architecture_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import Certificate, verify
from refconv.tasks.detection.data import DetectionData
from refconv.tasks.detection.evaluation import DetectionEvaluation, evaluation_of
from refconv.tasks.detection.input_normalisation import normalisation
from refconv.tasks.detection.object_pictures import draw_objects, object_prediction
from refconv.tasks.detection.objects import ImageResult, image_result
from refconv.tasks.detection.segments import coco_tools
from refconv.tasks.evaluation import autocasting
from refconv.tasks.prediction import Prediction
from refconv.tasks.task import EvaluationRun, Network, Objective, Source, Task, described, names_outside, refuse, unfit

if TYPE_CHECKING:
    from PIL import Image

    from refconv.models.opening import Opened

_BODIES = ("backbone.body.", "backbone.features.", "backbone.")
"""Where detectors keep what a classifier would have, too; the first that is there counts."""


class Detection(Task):
    """Boxes, classes and scores of objects: the detector's own losses, mean average precision.

    Models take a list of images [C, H, W] with values in [0, 1], and in training a list of targets as torchvision's
    detectors do (``boxes``, ``labels``, ``masks``); they give a dictionary of losses in training and a list of
    dictionaries (``boxes``, ``labels``, ``scores``, ``masks``) otherwise. They normalise and resize images themselves.
    """

    name = "detection"
    threshold = 0.5
    samples_certified = 4

    def check(self, recipe: Recipe) -> None:
        """Refuse what mixes images or teaches by class scores.

        Raises:
            RecipeError: if one is given.
        """
        super().check(recipe)
        mixing = "boxes of mixed images cannot be told apart"
        teacher = "detectors give boxes, not scores of classes"
        whole = "detectors see whole images, which they resize themselves"
        refuse(
            recipe,
            self.name,
            {
                **dict.fromkeys(("mixup", "cutmix", "mixup_prob", "mixup_switch_prob", "mixup_mode"), mixing),
                **dict.fromkeys(("distill", "distill_checkpoint", "distill_alpha", "distill_temperature"), teacher),
                "smoothing": "the detector brings its own loss",
                "aa": "its policies move images and leave boxes",
                "re_prob": "what is erased would keep its box",
                "pad_crop": "give scale for a random crop",
                "crop_pct": whole,
                "interpolation": whole,
                "drop": "detectors have no dropout; drop_path reaches the backbone",
            },
        )
        if recipe.in_chans not in {None, 3}:
            raise RecipeError(
                "detectors take colour images", where="in_chans", expected="3", found=str(recipe.in_chans)
            )
        source, separator, name = architecture_of(recipe.model).partition(":")
        if not separator or (source == "torchvision" and not is_detector(name)):
            raise RecipeError(
                "is not a detector",
                where=f"model = {recipe.model}",
                expected="detector:HEAD with a backbone, torchvision:NAME of a detector, or module:function",
                remedy=f"give --model detector:ssdlite --backbone {name or source}",
            )
        if source not in {"detector", "torchvision"}:
            reason = f"{recipe.model} normalises and resizes images as it likes: use model_kwargs"
            refuse(recipe, self.name, {"img_size": reason, "mean": reason, "std": reason})
        if source not in {"detector"}:
            refuse(recipe, self.name, {"backbone": "only detector:HEAD takes a backbone"})

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> DetectionData:
        """Open scenes, COCO's json or Pascal VOC's folders; masks only for models that look at them.

        The data holds images as they are. Its mean and std say how the model is to normalise them, where that is not
        left to the model: as the recipe says, or as the classifier was trained that its backbone starts from.

        Raises:
            DataError: if it cannot be had, or faster-coco-eval is not installed.
            SettingError: if an augmentation does not fit it.
            CheckpointError: if the backbone's classifier is not there.
            RecipeError: if mean and std are not of three channels.
        """
        coco_tools()
        data = DetectionData(
            recipe.data,
            root=recipe.data_dir,
            val_split=recipe.val_split,
            augmentation=Augmentation(
                hflip=recipe.hflip, scale=recipe.scale, ratio=recipe.ratio, color_jitter=recipe.color_jitter
            ),
            workers=recipe.workers,
            img_size=recipe.img_size,
            masks=_looks_at_masks(recipe.model),
        )
        mean, std = normalisation(recipe, data.info, model)
        data.info = dataclasses.replace(data.info, mean=mean, std=std)
        data.preprocessing = as_they_are(data.info, self.name)
        return data

    def open_for(self, opened: Opened, source: Source) -> DetectionData:
        """Open data for a model that was opened.

        Raises:
            DataError: if it cannot be opened, or another image size is asked for.
        """
        coco_tools()
        if opened.flags:
            raise DataError(
                "a detector resizes and normalises images itself, as it was built",
                where=", ".join(opened.flags),
                remedy="leave it out, or train with another",
            )
        return DetectionData(
            source.name,
            root=source.root,
            val_split=source.val_split,
            workers=source.workers,
            masks=_looks_at_masks(opened.name),
        )

    def random_samples(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Return a list of random images; see :meth:`refconv.tasks.task.Task.random_samples`."""
        return list(super().random_samples(shape))

    def certify(self, before: nn.Module, after: nn.Module, samples: Samples | None) -> Certificate:
        """Compare two detectors; where both detect nothing, all boxes are compared, whatever their scores."""
        certificate = verify(before, after, samples)
        if samples is None or certificate.same_outputs is not None or certificate.uncompared:
            return certificate
        with all_scores(before, after):
            return verify(before, after, samples)

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for one dictionary of boxes, labels and scores per image.

        Raises:
            ModelError: if the outputs are something else.
        """
        entries = outputs if isinstance(outputs, (list, tuple)) else []
        if len(entries) != len(samples) or not all(_is_detected(entry) for entry in entries):
            raise ModelError(
                "the model is not a detector",
                **unfit(model, outputs),
                expected="a list of dictionaries with boxes [n, 4], labels [n] and scores [n], one per image",
                remedy="try detector:ssdlite with --backbone",
            )

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check for a dictionary of losses, on the objects that training looks at.

        Raises:
            ModelError: if the outputs are something else.
        """
        _summed(model(samples, targets), where=type(model).__name__)

    def warning(self, model: nn.Module, recipe: Recipe) -> str | None:
        """Warn that parts of a batch count alike in detectors that divide their losses by the matched anchors."""
        if recipe.grad_accum_steps == 1 or not isinstance(model, (SSD, FCOS)):
            return None
        return (
            f"warning: {type(model).__name__} divides its losses by the matched anchors of one forward pass, so with "
            f"--grad-accum-steps {recipe.grad_accum_steps} a step is the mean of its parts' losses, not the loss of "
            "the whole batch"
        )

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the sum of the detector's losses."""
        autocast = autocasting(processes.device, recipe.amp)

        def objective(network: Network, images: Samples, targets: Targets) -> Tensor:
            with autocast():
                losses = network(images, targets)
            return _summed(losses, where=recipe.model)

        return objective

    def evaluate_batches(
        self, model: nn.Module, data: Data, batches: Iterable[Batch], run: EvaluationRun
    ) -> DetectionEvaluation:
        """Evaluate a detector.

        Raises:
            ModelError: if the model does not fit the data.
        """
        assert isinstance(data, DetectionData)
        own: list[ImageResult] = []
        masks = data.has_masks
        for images, targets in batches:
            with run.autocast():
                outputs = self.outputs(model, run.place(images), data.info)
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

    def head_names(self, model: nn.Module) -> set[str]:
        """Return the names of all that a classifier would not have: pyramid, further maps and prediction layers.

        Raises:
            ModelError: if the model has no part called ``backbone``.
        """
        names = names_outside(model)
        body = next((prefix for prefix in _BODIES if any(name.startswith(prefix) for name in names)), None)
        if body is None:
            raise ModelError(
                "cannot tell the head of this detector from its backbone",
                where=type(model).__name__,
                expected="a part called backbone",
                remedy="train all of it, or refocus+norm",
            )
        return names_outside(model, body)

    def predict(
        self, model: nn.Module, images: list[Image.Image], opened: Opened, *, device: torch.device, threshold: float
    ) -> list[Prediction]:
        """Return the objects above the minimum score, the highest first, and pictures with their boxes."""
        mode = IMAGE_MODES[opened.arguments.get("in_chans") or 3]
        colours = [image.convert("RGB") for image in images]
        samples = [
            v2.to_dtype(v2.pil_to_tensor(image.convert(mode)), torch.float32, scale=True).to(device) for image in images
        ]
        info = DataInfo("", 0, 3, (), (), (), (), 0, 0, 0)
        outputs = self.outputs(model, samples, info)
        return [
            object_prediction(image, {name: value.cpu() for name, value in output.items()}, opened, threshold)
            for image, output in zip(colours, outputs, strict=True)
        ]

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return an image with the boxes and masks of its objects."""
        labels = target["labels"]
        masks = target["masks"].bool() if "masks" in target else None
        return draw_objects(
            image, target["boxes"], [class_names[label - 1] for label in labels.tolist()], labels, masks
        )


def _is_detected(entry: Any) -> bool:
    """Return whether an output holds boxes [n, 4], labels [n] and scores [n]."""
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(name), Tensor) for name in ("boxes", "labels", "scores")
    ):
        return False
    count = len(entry["scores"])
    return tuple(entry["boxes"].shape) == (count, 4) and tuple(entry["labels"].shape) == (count,)


def _summed(losses: Any, *, where: str) -> Tensor:
    """Return the sum of a detector's losses.

    Raises:
        ModelError: if there are none.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise ModelError(
            "the model returns no losses in training",
            where=where,
            expected="a dictionary of losses, as torchvision's detectors give",
            found=described(losses),
        )
    return torch.stack([loss.float() for loss in losses.values()]).sum()


def _looks_at_masks(model: str) -> bool:
    return "mask" in architecture_of(model).lower()
