"""Every setting of a training run: its name, type, default, limits and help.

The command line makes its flags from these fields, so recipe and flags cannot drift apart. Names are timm's wherever
timm has one; :mod:`refconv.recipe.timm_names` reads the others. This module imports neither torch nor timm, so that
help is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from typing import Any

from refconv.config import RefocusConfig
from refconv.recipe.settings import setting
from refconv.records import type_hints
from refconv.task_measures import TASKS

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow", "trackio")
"""Where a run may log to, beside its metrics.jsonl."""

WORKERS = min(4, os.cpu_count() or 1)  #: Data workers where nobody says how many

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
class Settings:
    """The fields of :class:`refconv.engine.Recipe`, unchecked."""

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
    img_size: int | None = _data(
        "image side in pixels; default: that of the model, else of the images", None, least=1, most=32768
    )
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
    crop_pct: float | None = _data("fraction of the image's side kept in evaluation", None, least=0.01, most=1)
    mean: tuple[float, ...] | None = _data(
        "mean of each channel, or one of all; default: that of the model, else of the data", None
    )
    std: tuple[float, ...] | None = _data("standard deviation of each channel", None)
    workers: int = _data("processes that decode images", WORKERS, least=0, may_change=True)

    hflip: float = _augmentation("probability of a horizontal flip", 0.0, least=0, most=1)
    vflip: float = _augmentation("probability of a vertical flip", 0.0, least=0, most=1)
    pad_crop: int = _augmentation("in-memory data: padding in pixels before a random crop", 0, least=0)
    scale: tuple[float, float] | None = _augmentation("range of the area of a random resized crop", None)
    ratio: tuple[float, float] | None = _augmentation("range of the crop's aspect ratio", None)
    train_interpolation: str | None = _augmentation(
        "resampling of training images; default: as interpolation",
        None,
        choices=("bilinear", "bicubic", "nearest", "random"),
    )
    aug_repeats: float = _augmentation(
        "how often an epoch takes each of its samples, which are as many times fewer; 0 is off", 0.0, least=0
    )
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
    damping: float = refocusing("damping")
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
    compile: bool = _run("compile the steps of training", False)
    grad_checkpointing: bool = _run("compute activations again in the backward pass, which saves memory", False)
    sync_bn: bool = _run("batch norms take their statistics over all processes", False)
    channels_last: bool = _run("keep tensors in channels-last format", False)
    deterministic: bool = _run("only deterministic algorithms (exact resumption on an accelerator needs it)", False)
    validation_batch_size: int | None = _run("samples per process in evaluation", None, least=1, may_change=True)
    eval_interval: int = _run("epochs between evaluations on the validation split", 1, least=1, may_change=True)
    log_interval: int = _run("steps between two lines of metrics", 50, least=1, may_change=True)
    checkpoint_interval: int = _run("steps between two checkpoints; 0: one per epoch", 0, least=0, may_change=True)
    snapshots: int = _run("also keep the weights at the end of so many last epochs, in RUN/snapshots", 0, least=0)
    log: tuple[str, ...] = _run("also log to these", (), choices=LOGGERS, may_change=True)
    log_kwargs: dict[str, Any] = _run(
        "for the loggers: project, name, group and tags of the run", dict, may_change=True
    )
    test: bool = _run("evaluate on the test split, once at the end; off in runs that choose settings", True)
