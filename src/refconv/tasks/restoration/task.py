"""Restoration: noise removed, small images enlarged, by any image-to-image network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from refconv.data import Data, DataInfo, Samples, Targets
from refconv.data.dataset import Batch
from refconv.data.images import decode
from refconv.data.preprocessing import IMAGE_MODES, Statement
from refconv.data.resizing import enlarged
from refconv.errors import DataError, ModelError
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.losses import chosen_loss
from refconv.tasks.restoration.data import LEVELS, Degradation, RestorationData
from refconv.tasks.restoration.evaluation import CHANNEL_NAMES, Channel, RestorationEvaluation, field_channel, scores_of
from refconv.tasks.restoration.restoring import needs_of, restored
from refconv.tasks.task import EvaluationRun, Network, Objective, Prediction, Source, Task, unfit
from refconv.tasks.teaching import make_teacher, of_images

if TYPE_CHECKING:
    from refconv.models.opening import Opened

_NOT_MIXED = "mixed or erased images have no clean image to be compared with"
_LOSSES = {"l1": nn.L1Loss, "l2": nn.MSELoss, "huber": nn.HuberLoss}
_PATCHES = "patches are cut from random places, mirrored and turned anyway"


class Restoration(Task):
    """Clean images from noisy or small ones: mean absolute difference, PSNR and SSIM."""

    name = "restoration"
    output_names = ("restored",)
    without_effect: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("num_classes", "reset_classifier", "smoothing"), "there are no classes"),
        **dict.fromkeys(("mixup", "cutmix", "re_prob"), _NOT_MIXED),
        **dict.fromkeys(("hflip", "vflip", "pad_crop", "scale", "ratio"), _PATCHES),
        "img_size": "training patches have patch_size, and whole images are evaluated",
        "crop_pct": "whole images are evaluated",
        **dict.fromkeys(("aa", "color_jitter"), "it changes colours, which are to be restored"),
        **dict.fromkeys(
            ("interpolation", "train_interpolation"), "images are shrunk and enlarged bicubically, as the field does"
        ),
        **dict.fromkeys(("mean", "std"), "values stay in [0, 1]"),
    }

    def check(self, recipe: Recipe) -> None:
        """Refuse settings that have no effect, and a recipe that leaves nothing to restore."""
        super().check(recipe)
        Degradation(noise=recipe.noise, upscale=recipe.upscale)

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open pictures: ``images:FOLDER`` or ``photographs``."""
        degradation = Degradation(noise=recipe.noise, upscale=recipe.upscale)
        settings = {**Source.of(recipe).settings, "in_chans": recipe.in_chans, "patch_size": recipe.patch_size}
        return RestorationData(recipe.data, degradation=degradation, **settings)

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open pictures degraded as in training; of other data, a folder without ``train`` is the test split."""
        if opened.flags:
            reason = "has no effect in restoration: whole images are evaluated, and not normalised"
            raise DataError(reason, where=", ".join(opened.flags))
        settings = {**source.settings, "in_chans": opened.arguments.get("in_chans"), "for_training": source.of_run}
        if opened.recipe is not None:
            settings["patch_size"] = opened.recipe.patch_size
        return RestorationData(source.name, degradation=_degradation(opened), **settings)

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for images with as many channels as the input."""
        if not isinstance(outputs, Tensor) or outputs.shape[:2] != samples.shape[:2] or outputs.dim() != samples.dim():
            expected = f"[{len(samples)}, {info.in_chans}, height, width]"
            raise unfit(model, outputs, "the model does not return restored images", expected=expected)

    def check_fit(self, model: nn.Module, samples: Samples, targets: Targets, info: DataInfo) -> None:
        """Check that a model restores images, of the size that is wanted."""
        upscale = targets.shape[-1] // samples.shape[-1]
        needs = needs_of(model, in_chans=info.in_chans, upscale=upscale)
        given = enlarged(samples, upscale) if needs.enlarge else samples
        outputs = self.outputs(model, given, info)
        if outputs.shape != targets.shape:
            what, expected = "the model's output has another size than the patch", str(list(targets.shape[1:]))
            found = f"{list(outputs.shape[1:])} for {list(given.shape[1:])}"
            remedy = f"give a patch_size that is a multiple of {needs.multiple}" if needs.multiple > 1 else None
            raise ModelError(what, where=type(model).__name__, expected=expected, found=found, remedy=remedy)

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the mean absolute difference (Lim et al. 2017 on why not squared), or another loss.

        A teacher restores the same images; its result is compared with the student's by the mean absolute difference.
        """
        autocast = autocasting(processes.device, recipe.amp)
        criterion = chosen_loss(recipe, _LOSSES, processes.device)
        teacher = make_teacher(recipe, processes.device, info, of_images, resizes=False)
        teacher_enlarges = teacher is not None and (
            needs_of(teacher.model, in_chans=info.in_chans, upscale=recipe.upscale).enlarge
        )
        enlarge: bool | None = None

        def objective(network: Network, inputs: Samples, targets: Targets) -> Tensor:
            nonlocal enlarge
            if enlarge is None:
                model = network.module if isinstance(network, DistributedDataParallel) else network
                assert isinstance(model, nn.Module)
                enlarge = needs_of(model, in_chans=info.in_chans, upscale=recipe.upscale).enlarge
            if teacher is not None:
                teacher.watch(network)
            larger = enlarged(inputs, recipe.upscale) if enlarge or teacher_enlarges else inputs
            with autocast():
                outputs = network(larger if enlarge else inputs)
            loss = criterion(outputs.float(), targets)
            return loss if teacher is None else teacher.loss(larger if teacher_enlarges else inputs, outputs, loss)

        return objective

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a model on whole images, one at a time, large ones in tiles; on training patches if asked for."""
        data = run.data
        assert isinstance(data, RestorationData)
        upscale = data.degradation.upscale
        needs = needs_of(model, in_chans=data.info.in_chans, upscale=upscale)
        channel = field_channel(data.info.in_chans, upscale)
        other: Channel = "rgb" if channel == "luma" else "luma"
        totals = [0.0] * 8
        for samples, targets in batches:
            for sample, target in zip(run.place(samples).split(1), targets, strict=True):
                with run.autocast():
                    output = restored(model, sample, needs, upscale=upscale)
                scores = scores_of(output, sample, target, data.degradation, (channel, other))
                totals = [total + score for total, score in zip(totals, (*scores, 1.0), strict=True)]
        *sums, count = run.processes.sums(totals)
        names = ("psnr", "ssim", "loss", "input_psnr", "input_ssim", f"psnr_{other}", f"ssim_{other}")
        means: dict[str, Any] = {name: total / count for name, total in zip(names, sums, strict=True)}
        if channel == "grey":  # which has no other
            means = {name: means[name] for name in names[:5]}
        return RestorationEvaluation(int(count), **means, enlarged=needs.enlarge, channel=channel)

    def definitions(self, data: Data) -> dict[str, str]:
        """Return in which channel images are compared."""
        assert isinstance(data, RestorationData)
        channel = field_channel(data.info.in_chans, data.degradation.upscale)
        if channel == "grey":  # which has no other
            return {}
        return dict.fromkeys(("psnr", "ssim"), f"{CHANNEL_NAMES[channel]} of 8-bit images, mean over images")

    def head_names(self, model: nn.Module) -> set[str]:
        """Return the names of the last convolution's weights."""
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
        if not convolutions:
            raise ModelError("no convolution found", where=type(model).__name__, expected="one at the end")
        name, last = convolutions[-1]
        return {f"{name}.{entry}" if name else entry for entry, _ in last.named_parameters()}

    def predict(self, opened: Opened, image: Image.Image, *, device: torch.device, threshold: float) -> Prediction:
        """Return the restored image; it is taken as it is, and nothing is added or shrunk first."""
        upscale = _degradation(opened).upscale
        in_chans = int(opened.arguments.get("in_chans") or 3)
        needs = needs_of(opened.model, in_chans=in_chans, upscale=upscale)
        pixels = np.asarray(decode(image).convert(IMAGE_MODES[in_chans]))
        values = pixels.reshape(*pixels.shape[:2], in_chans)
        sample = torch.from_numpy(values.copy()).permute(2, 0, 1)[None].to(device).float() / LEVELS
        picture = _picture(restored(opened.model, sample, needs, upscale=upscale)[0].float().cpu())
        content = {"width": picture.width, "height": picture.height, "upscale": upscale}
        words = f"{picture.width} x {picture.height} pixels" + (f", {upscale} times larger" if upscale > 1 else "")
        return Prediction(content, words, picture)

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return the clean image."""
        return _picture(target)


def _picture(values: Tensor) -> Image.Image:
    """Return values [C, H, W] in [0, 1] as an image."""
    pixels = (values * LEVELS).round().clamp(0, LEVELS).to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _degradation(opened: Opened) -> Degradation:
    """Return what was done to the images that a model was trained on."""
    known = opened.stated.values if opened.recipe is None else vars(opened.recipe)
    values: dict[str, Any] = {name: known.get(name) for name in ("noise", "upscale")}
    if None in values.values():
        expected = "noise and upscale, in the recipe of a run or in config.json"
        remedy = "give the run, or train one: refconv train --task restoration"
        raise DataError("it is not known what the model restores", where=opened.name, expected=expected, remedy=remedy)
    return Degradation(**values)
