"""The recipe: every setting of a training run in one frozen dataclass, read from and written to TOML.

The command line makes its flags from the fields of :class:`Recipe`, so recipe and flags cannot drift apart.
Names are timm's wherever timm has one. This module imports neither torch nor timm, so that help is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from refconv.config import RefocusConfig
from refconv.errors import RecipeError, did_you_mean
from refconv.recipe.settings import check_range, coerced, required, setting
from refconv.records import type_hints
from refconv.task_measures import TASKS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSIONS_TABLE = "versions"  #: The TOML table in which :meth:`Recipe.to_toml` notes the versions used; reading skips it
Space = Literal["kernel", "gradient"]
NESTEROV = {"sgd": True, "nesterov": True, "momentum": False}
"""timm's names of torch's SGD, for which gradient space is equivalent, and whether they mean Nesterov's momentum."""

LOOKAHEAD = "lookahead_"
"""timm's prefix for averaging an optimizer's steps, which is linear, so that it changes nothing here."""

_LEFT_OPEN = [("interpolation", "bilinear", None), ("interpolation", None, "bilinear")]
"""Values that earlier versions wrote where none was given; a resumed run keeps its own."""

RATE_FROM_SCRATCH = 0.1
"""Learning rate of SGD from scratch where a recipe gives none; until version 0.1.0 that of every recipe."""

RATE_ENTRY_BY_ENTRY = 0.001
"""Learning rate of optimizers that scale each entry of their step, from scratch and from weights."""

_SGD_LIKE = (*NESTEROV, "sgdp", "sgdw", "lars", "larc", "nlars", "nlarc")
"""timm's optimizers whose step is proportional to the gradient or to the weight, not scaled entry by entry."""


# One group of flags in the command line's help each.
_model, _data, _augmentation = (functools.partial(setting, name) for name in ("model", "data", "augmentation"))
_method, _optimizer, _schedule = (functools.partial(setting, name) for name in ("method", "optimizer", "schedule"))
_averaging, _run = functools.partial(setting, "averaging and teaching"), functools.partial(setting, "run")


def refocusing(name: str, default: Any = None) -> Any:
    """Declare the field of a recipe that is a setting of :class:`refconv.RefocusConfig`."""
    field = RefocusConfig.__dataclass_fields__[name]
    choices = typing.get_args(type_hints(RefocusConfig)[name])
    selects = name in {"include", "exclude"}
    return _method(
        f"{'kernels' if selects else 'refocus'}: {field.metadata['help']}",
        field.default if default is None else default,
        choices=() if default is not None else choices,
        least=field.metadata["least"],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one training run.

    Values are checked when the recipe is made: types, ranges, choices, and settings that exclude each other.
    A list is accepted for a tuple, a whole number for a float, and one value for a tuple of any length.
    A learning rate that is not given becomes that of :func:`default_rate`, so ``lr`` always is a number.

    Raises:
        RecipeError: if a value is not possible.

    Example:
        >>> recipe = Recipe(model="test_resnet", data="digits", map_size=3)
        >>> recipe.map_size, recipe.method
        ((3,), 'plain')
    """

    task: str = _model("the task", TASKS[0], choices=TASKS)
    model: str = _model("timm name, module:function, torchvision:, local-dir:, detector:, smp:NAME or spandrel:FILE")
    model_kwargs: dict[str, Any] = _model("further arguments of the model's builder", dict)
    pretrained: bool = _model("start from timm's pretrained weights", False)
    checkpoint: str | None = _model("start from the weights in this file, folder or run", None)
    reset_classifier: bool = _model("with --checkpoint: reinitialize the classifier", False)
    backbone: str | None = _model("timm name of the backbone of detector:HEAD or smp:NAME", None)
    backbone_checkpoint: str | None = _model("start the backbone from the classifier in this run, folder or file", None)
    num_classes: int | None = _model("outputs; default: as the data needs; 0 in embedding: features", None, least=0)
    in_chans: int | None = _model("input channels; default: those of the data", None, least=1)
    drop: float = _model("dropout rate", 0.0, least=0, most=1)
    drop_path: float | None = _model("drop path rate (stochastic depth)", None, least=0, most=1)

    data: str = _data("a name; folder:, table:, arrays:, coco:, voc:, masks:, images:PATH; module:function; or timm's")
    data_dir: str | None = _data("folder of the data", None, may_change=True)
    class_map: str | None = _data(
        "file with the class of each folder: lines FOLDER,CLASS, or JSON", None, may_change=True
    )
    val_split: float = _data("fraction of the training data kept for validation", 0.0, least=0, most=0.9)
    img_size: int | None = _data("image side in pixels; default: that of the model, else of the images", None, least=1)
    interpolation: str | None = _data(
        "resampling of images; default: that of the model", None, choices=("bilinear", "bicubic", "nearest", "random")
    )
    positive: str | None = _data(
        "binary: the positive class, all others being negative; default: the second of two", None, task="binary"
    )
    target_scale: str = _data(
        "regression: scale targets to mean 0 and standard deviation 1 in training, or not",
        "standard",
        choices=("standard", "none"),
        task="regression",
    )
    ignore_index: int = _data("segmentation: class index to ignore", 255, least=0, most=255, task="segmentation")
    noise: float = _data("restoration: noise level (0-255)", 0.0, least=0, task="restoration")
    upscale: int = _data("restoration: factor of super-resolution", 1, least=1, most=4, task="restoration")
    patch_size: int = _data("restoration: side of the training patches in pixels", 64, least=8, task="restoration")
    crop_pct: float | None = _data("fraction of the image's side kept in evaluation", None, above=0, most=1)
    mean: tuple[float, ...] | None = _data(
        "mean of each channel, or one of all; default: that of the model, else of the data", None
    )
    std: tuple[float, ...] | None = _data("standard deviation of each channel", None)
    workers: int = _data("processes that decode images", min(4, os.cpu_count() or 1), least=0, may_change=True)

    hflip: float = _augmentation("probability of a horizontal flip", 0.0, least=0, most=1)
    pad_crop: int = _augmentation("in-memory data: padding in pixels before a random crop", 0, least=0)
    scale: tuple[float, float] | None = _augmentation("range of the area of a random resized crop", None)
    ratio: tuple[float, float] | None = _augmentation("range of the crop's aspect ratio", None)
    aa: str | None = _augmentation("timm's auto-augment policy, such as rand-m9-mstd0.5", None)
    color_jitter: float = _augmentation("colour jitter factor", 0.0, least=0)
    re_prob: float = _augmentation("probability of random erasing", 0.0, least=0, most=1)
    mixup: float = _augmentation("mixup alpha; 0 is off", 0.0, least=0)
    cutmix: float = _augmentation("cutmix alpha; 0 is off", 0.0, least=0)
    mixup_prob: float = _augmentation("probability of mixup or cutmix", 1.0, least=0, most=1)
    mixup_switch_prob: float = _augmentation("probability of cutmix where both are on", 0.5, least=0, most=1)
    mixup_mode: str = _augmentation("what is mixed alike", "batch", choices=("batch", "pair", "elem"))
    smoothing: float = _augmentation("label smoothing", 0.0, least=0, most=1)

    method: str = _method("plain, refocus, scratch, norm_fold, another way to train kernels, or module:class", "plain")
    method_kwargs: dict[str, Any] = _method("further settings of the method, such as rank=4 of low_rank", dict)
    budget: str | None = _method(
        "choose the method's size to match this number of trained parameters, or that of a method", None
    )
    map_size: tuple[int, ...] = refocusing("map_size", (3,))
    order: str = refocusing("order")
    start: str = refocusing("start")
    gram_scale: str = refocusing("scale")
    power: float = refocusing("power")
    rounds: int = _method("refocus: rounds, each with the last one's kernels as bases", 1, least=1)
    space: str = _method(
        "refocus: where to train; auto is gradient space whenever the optimizer is SGD",
        "auto",
        choices=("auto", "gradient", "kernel"),
    )
    decay: str = _method(
        "refocus: what weight decay pulls kernels to: base, zero (kernel; gradient space only) or nothing",
        "refocus",
        choices=("refocus", "kernel", "none"),
    )
    include: tuple[str, ...] = refocusing("include", ())
    exclude: tuple[str, ...] = refocusing("exclude", ())
    zeros: str = _method(
        "entries of kernels that are zero, as of a pruned network: filled, or kept at zero by every method",
        "fill",
        choices=("fill", "keep"),
    )
    mask: str | None = _method("with zeros=keep: safetensors file of boolean masks by the names of layers", None)
    norm_statistics: str = _method(
        "batch norms: use each batch's statistics, or keep the running ones and use them",
        "batch",
        choices=("batch", "keep"),
    )

    train: str = _method(
        "which parameters train; refocus: the kernels that are or would be refocused",
        "all",
        choices=("all", "refocus", "refocus+norm", "refocus+head", "norm", "head", "norm+head"),
    )

    loss: str | None = _optimizer("the task's loss by name, or module:function; default: the task's first", None)
    loss_kwargs: dict[str, Any] = _optimizer("further arguments of the loss, such as gamma_neg=2", dict)
    opt: str = _optimizer("any optimizer of timm, by name", "sgd")
    lr: float = _optimizer(
        "learning rate; default: SGD 0.1 from scratch, 0.01 from weights; other optimizers 0.001", None, least=0
    )
    momentum: float = _optimizer("momentum", 0.9, least=0, most=1)
    weight_decay: float = _optimizer("weight decay", 4e-5, least=0)
    filter_bias_and_bn: bool = _optimizer("no weight decay on biases and normalization", True)
    kernel_lr_scale: float = _optimizer(
        "learning rate of the kernels of all convolutions, as a multiple of lr", 1.0, above=0
    )
    layer_decay: float | None = _optimizer("layer-wise decay of the learning rate", None, above=0, most=1)
    opt_kwargs: dict[str, Any] = _optimizer("further arguments of the optimizer", dict)
    clip_grad: float | None = _optimizer("clip gradients at this value", None, above=0)
    clip_mode: str = _optimizer("how to clip", "norm", choices=("norm", "value", "agc"))

    epochs: int = _schedule("epochs, warm-up included", 100, least=1)
    epoch_steps: int | None = _schedule(
        "steps of an epoch, on samples drawn anew for each; default: all training samples", None, least=1
    )
    batch_size: int = _schedule("samples per step, over all processes and accumulated parts", 128, least=1)
    samples_per_class: int | None = _schedule(
        "embedding: samples of each class in a batch of drawn classes; default: any", None, least=2, task="embedding"
    )
    grad_accum_steps: int = _schedule("parts of a batch whose gradients are accumulated", 1, least=1)
    sched: str = _schedule(
        "schedule of the learning rate, by timm's name",
        "cosine",
        choices=("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant", "none"),
    )
    warmup_epochs: float = _schedule("epochs of linear warm-up", 0.0, least=0)
    warmup_lr: float = _schedule("learning rate at the start of the warm-up", 1e-6, least=0)
    warmup_prefix: bool = _schedule("add the warm-up to the epochs instead of including it", False)
    min_lr: float = _schedule("learning rate at the end", 0.0, least=0)
    sched_kwargs: dict[str, Any] = _schedule("further arguments of timm's schedule, such as decay_epochs", dict)

    model_ema: bool = _averaging("ship a moving average of the weights", False)
    model_ema_decay: float = _averaging("decay of the moving average", 0.9998, least=0, most=1)
    model_ema_warmup: bool = _averaging("warm the decay up from zero", False)
    distill: str | None = _averaging("teacher: a pretrained timm name, run, folder or module:function", None)
    distill_checkpoint: str | None = _averaging("the teacher's weights", None)
    distill_alpha: float = _averaging("weight of the teacher in the loss", 0.5, least=0, most=1)
    distill_temperature: float = _averaging("temperature of the soft targets", 1.0, above=0)
    distill_features: tuple[str, ...] = _averaging(
        "layers whose attention is compared too: NAME, or STUDENT=TEACHER", ()
    )
    distill_features_weight: float = _averaging("weight of the features in the loss", 1.0, above=0)

    seed: int = _run("seed of everything random", 0, least=0)
    device: str | None = _run("cpu, cuda, cuda:1, mps; default: the best there is", None, may_change=True)
    amp: bool = _run("mixed precision with bf16 (autocast)", False)
    compile: bool = _run("compile the model", False)
    channels_last: bool = _run("keep tensors in channels-last format", False)
    deterministic: bool = _run("only deterministic algorithms (exact resumption on an accelerator needs it)", False)
    validation_batch_size: int | None = _run("samples per process in evaluation", None, least=1, may_change=True)
    eval_interval: int = _run("epochs between evaluations on the validation split", 1, least=1, may_change=True)
    log_interval: int = _run("steps between two lines of metrics", 50, least=1, may_change=True)
    checkpoint_interval: int = _run("steps between two checkpoints; 0: one per epoch", 0, least=0, may_change=True)
    snapshots: int = _run("also keep the weights at the end of so many last epochs, in RUN/snapshots", 0, least=0)
    tensorboard: bool = _run("also write TensorBoard events", False, may_change=True)
    test: bool = _run("evaluate on the test split, once at the end; off in runs that choose settings", True)

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        fields = {field.name: field for field in dataclasses.fields(self)}
        rate = fields.pop("lr")  # last, since its default depends on others
        for field in (*fields.values(), rate):
            value = getattr(self, field.name)
            value = default_rate(self) if field is rate and value is None else value
            value = coerced(field.name, hints[field.name], value)
            check_range(field, value)
            object.__setattr__(self, field.name, value)
        _check_together(self)

    @classmethod
    def from_toml(cls, path: Path | str, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """Read a TOML file of flat keys; a table ``versions`` is a note and is skipped.

        Settings among the ``overrides`` win over those of the file; a source of weights among them (``pretrained`` or
        ``checkpoint``) also wins over the file's other one.

        Raises:
            RecipeError: if the file cannot be read, is not TOML, or holds an unknown key or impossible value.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("cannot read the recipe", where=str(path), found=str(error)) from error
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError("not a TOML file", where=str(path), found=str(error)) from error
        values.pop(VERSIONS_TABLE, None)
        try:
            return cls.from_mapping(_overridden(values, overrides or {}))
        except RecipeError as error:
            raise RecipeError(str(error), where=str(path)) from error

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe of names and values, refusing names that are not settings.

        ``normalize``, which recipes of earlier versions have, is read as the ``gram_scale`` that it meant.

        Raises:
            RecipeError: if a name is unknown, a required one is missing, or a value is not possible.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if isinstance(values.get("normalize"), bool):
            meant = "normalized" if values["normalize"] else "paper"
            values = {"gram_scale": meant, **{name: value for name, value in values.items() if name != "normalize"}}
        for name in values:
            if name not in fields:
                raise RecipeError("unknown key", where=name, remedy=did_you_mean(name, fields))
        for name, field in fields.items():
            if name not in values and required(field):
                expected, remedy = field.metadata["help"], f"give --{name} or the key in the recipe"
                raise RecipeError("missing key", where=name, expected=expected, remedy=remedy)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, as plain values and lists."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_toml(self, versions: Mapping[str, str] | None = None) -> str:
        """Return the recipe as TOML: every setting that is not None, and as a note the version of each program used.

        TOML has no null. Reading gives None back, because each setting that may be None is None by default.
        """
        import tomli_w

        values: dict[str, Any] = {name: value for name, value in self.to_dict().items() if value is not None}
        if versions:
            values[VERSIONS_TABLE] = dict(versions)
        return tomli_w.dumps(values)

    def differences(self, other: Recipe) -> tuple[str, ...]:
        """Name the settings in which two recipes differ and on which the result depends."""
        compared = [field.name for field in dataclasses.fields(self) if not field.metadata["may_change"]]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in compared)
        return tuple(pair[0] for pair in pairs if pair[1] != pair[2] and pair not in _LEFT_OPEN)


def _overridden(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with others in their place; weights come from the one source that was named last."""
    kept = dict(values)
    if overrides.get("checkpoint") is not None and "pretrained" not in overrides:
        kept.pop("pretrained", None)
    if overrides.get("pretrained") and "checkpoint" not in overrides:
        for name in ("checkpoint", "reset_classifier"):
            kept.pop(name, None)
    return {**kept, **overrides}


def from_weights(recipe: Recipe) -> bool:
    """Return whether training starts from given weights, of the whole model or of the backbone."""
    named = recipe.pretrained or recipe.checkpoint is not None or recipe.backbone_checkpoint is not None
    return named and recipe.method != "scratch"


def default_rate(recipe: Recipe) -> float:
    """Return the learning rate of a recipe that gives none.

    With SGD 0.1 from scratch and a tenth of that from weights. A trained CIFAR-10 ResNet-20, trained on for two epochs
    of 2,000 images with SGD, had 61.6 % of 1,000 test images at 0.1, 84.4 % at 0.01 and 83.1 % at 0.003 (one seed).

    An optimizer that scales each entry of its step moves a weight by about the rate itself, whatever the gradient:
    0.001 from scratch and from weights. The same network began with 80.4 % of 1,000 other test images and had after the
    same training with AdamW, at 0.0001, 0.0003, 0.001 and 0.003 (means of two seeds): plain 80.4, 81.5, 82.3 and
    79.7 %; refocused 79.7, 80.9, 82.5 and 83.4 %. ImageNet's EfficientNet-Lite0 with a new classifier had, after four
    epochs of 300 images of CIFAR-10 at 96 px, 16.0 % of 300 test images at 0.0001, 32.7 % at 0.0003 and 52.3 % at 0.001
    (plain, one seed; refocused 50.7 % at 0.001).
    """
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in _SGD_LIKE:
        return RATE_ENTRY_BY_ENTRY
    return RATE_FROM_SCRATCH / 10 if from_weights(recipe) else RATE_FROM_SCRATCH


def _check_together(recipe: Recipe) -> None:
    """Refuse settings that exclude each other or that would have no effect."""
    if recipe.pretrained and recipe.checkpoint is not None:
        remedy = "give pretrained or checkpoint, not both"
        raise RecipeError("two sources of weights", where="checkpoint", remedy=remedy)
    if recipe.reset_classifier and recipe.checkpoint is None:
        raise RecipeError("has no effect without checkpoint", where="reset_classifier")
    for name, needed in (("distill_checkpoint", "distill"), ("distill_features", "distill"), ("loss_kwargs", "loss")):
        if getattr(recipe, name) and getattr(recipe, needed) is None:
            raise RecipeError(f"has no effect without {needed}", where=name)
    if recipe.batch_size % recipe.grad_accum_steps:
        what, expected = "the batch cannot be cut into equal parts", f"a divisor of batch_size = {recipe.batch_size}"
        raise RecipeError(what, where="grad_accum_steps", expected=expected, found=str(recipe.grad_accum_steps))
    trains_no_kernel = recipe.train != "all" and "refocus" not in recipe.train
    if trains_no_kernel and recipe.method not in {"plain", "scratch", "norm_fold"}:
        raise RecipeError(
            f"trains no kernel, so {recipe.method} has no effect",
            where="train",
            expected="all or refocus, alone or with norm or head",
            found=repr(recipe.train),
            remedy="method = plain",
        )
    if recipe.train == "norm" and recipe.kernel_lr_scale != 1:
        raise RecipeError("has no effect where only norms train", where="kernel_lr_scale", remedy="leave it out")
    if (recipe.mean is None) != (recipe.std is None):
        raise RecipeError("mean and std go together", where="mean" if recipe.std is None else "std")
    for name in ("scale", "ratio"):
        limits = getattr(recipe, name)
        if limits is not None and not 0 < limits[0] <= limits[1]:
            raise RecipeError("not a range", where=name, expected="0 < low <= high", found=str(limits))
    if not recipe.warmup_prefix and recipe.warmup_epochs > recipe.epochs:
        what, expected = "the warm-up is longer than the training", f"at most {recipe.epochs}"
        raise RecipeError(what, where="warmup_epochs", expected=expected, found=f"{recipe.warmup_epochs:g}")
    _check_kept(recipe)
    _check_space(recipe)


def _check_kept(recipe: Recipe) -> None:
    """Check that there is something to keep for the settings that keep something of the weights."""
    if recipe.mask is not None and recipe.zeros != "keep":
        raise RecipeError("has no effect where zeros are filled", where="mask", remedy="zeros = keep")
    for name, default, kept in (("norm_statistics", "batch", "statistics"), ("zeros", "fill", "zeros")):
        if recipe.method == "scratch" and getattr(recipe, name) == "keep":
            what = f"scratch starts from new weights, which have no {kept} to keep"
            raise RecipeError(what, where=name, remedy=f"{name} = {default}")


def space_of(recipe: Recipe) -> Space | None:
    """Return the space in which a recipe refocuses; None if it does not."""
    if recipe.method != "refocus":
        return None
    if recipe.space != "auto":
        return "gradient" if recipe.space == "gradient" else "kernel"
    return "kernel" if _obstacle(recipe) else "gradient"


def _check_space(recipe: Recipe) -> None:
    """Check that a recipe refocuses in a space in which its other settings have a meaning."""
    space = space_of(recipe)
    if space == "gradient" and (obstacle := _obstacle(recipe)):
        where, what, remedy = obstacle
        raise RecipeError(f"gradient space is {what}", where=where, remedy=remedy)
    if space == "kernel" and recipe.decay == "kernel":
        what = "kernel space decays refocus weights, which pulls kernels towards their bases, not towards zero"
        remedy = "space = gradient, with an optimizer that is SGD"
        raise RecipeError(what, where="decay", expected="refocus or none", found="'kernel'", remedy=remedy)
    if space == "kernel" and recipe.rounds > 1 and recipe.model_ema:
        what = "an average over several bases is not the average of the kernels"
        expected, remedy = "1 with model_ema in kernel space", "space = gradient, or no model_ema"
        raise RecipeError(what, where="rounds", expected=expected, found=str(recipe.rounds), remedy=remedy)


def _obstacle(recipe: Recipe) -> tuple[str, str, str] | None:
    """Return what of a recipe is not equivalent in gradient space: the setting, why, and the remedy."""
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in NESTEROV:
        return "opt", f"equivalent under SGD only, not under {recipe.opt}", "opt = momentum or sgd, or space = kernel"
    if recipe.clip_grad is not None and recipe.clip_mode != "norm":
        what = f"not equivalent under clipping by {recipe.clip_mode}, which acts on entries of the refocus weight"
        return "clip_mode", what, "clip_mode = norm, or space = kernel"
    return None
