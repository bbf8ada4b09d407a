"""From a recipe to the task, its data and a prepared model, of which all or chosen parameters train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import torch
from timm.layers import RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from refconv.data import Batch, Data, DataInfo, Samples, Split
from refconv.data.class_names import UNNAMED, Classes, is_of_imagenet, read_class_map
from refconv.data.preprocessing import Statement
from refconv.data.splits import share_of
from refconv.errors import DataError, ModelError, RecipeError, RunError
from refconv.layers import apply_masks, find_layers, matched, read_masks
from refconv.methods.method import Method, kernel_names
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.creation import ModelSpec, create_model, load_backbone
from refconv.models.model_folder import located
from refconv.models.model_input import of_checkpoint, of_model, of_recipe
from refconv.models.strides import too_small
from refconv.models.weight_files import some
from refconv.models.weights import not_finite
from refconv.process.distributed import Processes
from refconv.process.randomness import derive_seed, seed_everything
from refconv.recipe.recipe import Recipe
from refconv.surgery import Plan, evaluating, plan
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.registry import task_of
from refconv.tasks.sample_task import SampleTask
from refconv.tasks.task import Task

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is trained on what, and how."""

    method: Method
    processes: Processes
    task: Task
    data: Data
    info: DataInfo  # with the model's number of classes, where the recipe gives one
    spec: ModelSpec
    model: nn.Module  # on its device, with its first weights, prepared by the method
    plan: Plan | None  # which kernels are refocused, if any
    frozen: tuple[str, ...]  # parameters that the recipe keeps from training and that would train otherwise
    part_size: int  # samples of a part, over all processes
    steps_per_epoch: int  # optimizer steps in an epoch
    samples_per_step: int  # samples of an optimizer step, over all processes

    @property
    def recipe(self) -> Recipe:
        """The settings."""
        return self.method.recipe

    @property
    def shares(self) -> list[int]:
        """How many samples of a part each process has; perhaps none."""
        count, pairs = self.processes.world_size, self.recipe.mixes
        return [len(share_of(self.part_size, rank=rank, world_size=count, pairs=pairs)) for rank in range(count)]

    def train_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Return this process's shares of the parts of an epoch's steps, from one step on."""
        recipe = self.recipe
        return self.data.train_batches(
            seed=recipe.seed,
            epoch=epoch,
            batch_size=recipe.batch_size // recipe.grad_accum_steps,
            first_batch=first_step * recipe.grad_accum_steps,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
            repeats=recipe.aug_repeats,
            pairs=recipe.mixes,
        )

    def evaluate(self, model: nn.Module, split: Split, data: Data | None = None) -> Evaluation:
        """Evaluate a model, on its device, on a split of the run's or of other data; the processes share the work."""
        return self.task.evaluate(
            model,
            self.data if data is None else data,
            split,
            batch_size=self.recipe.validation_batch_size or max(self.shares),
            device=self.processes.device,
            amp=self.recipe.amp,
            channels_last=self.recipe.channels_last,
            processes=self.processes,
        )

    @property
    def small_images(self) -> str | None:
        """A warning if a layer of the model steps over images as small as these; None if not."""
        return too_small(self.model, self.info.input_size) if self.task.prepares_images else None

    def placed(self, samples: Samples) -> Samples:
        """Return samples on the device of this process."""
        return self.task.place(self.processes.device, self.recipe.channels_last)(samples)


def open_setup(method: Method, processes: Processes, checkpoint: Checkpoint | None = None) -> Setup:
    """Open the data, build the model and prepare it; a resumed run needs no initial weights."""
    recipe = method.recipe
    task = task_of(recipe)
    goes_on = None
    if checkpoint is not None:
        goes_on = of_checkpoint(checkpoint.trained_by(), checkpoint.data_info(), checkpoint.preprocessing)
    data = _with_classes(task, _open_data(task, recipe, goes_on), recipe, checkpoint)
    info = data.info
    if (wanted := recipe.num_classes) is not None:
        if wanted < info.num_classes:
            what, expected = "the data has more classes than the model is to have", f"at most num_classes = {wanted}"
            remedy = "give --task binary for one logit" if wanted == 1 else None
            raise DataError(what, where=recipe.data, expected=expected, found=str(info.num_classes), remedy=remedy)
        info = dataclasses.replace(info, num_classes=wanted)
    if checkpoint is not None:
        _check_same_data(info, dataclasses.replace(checkpoint.data_info(), name=info.name))
    part_size, steps_per_epoch = _cut(recipe, data)
    seed_everything(derive_seed("model", recipe.seed))
    if checkpoint is None and method.inherits:
        model = create_model(
            ModelSpec.of_run(recipe, info),
            pretrained=recipe.pretrained,
            checkpoint=recipe.checkpoint,
            reset_classifier=recipe.reset_classifier,
            fit_channels=True,
        )
        if recipe.backbone_checkpoint is not None:
            load_backbone(model, recipe.backbone_checkpoint)
        data = _with_classes(task, _as_the_model_says(task, data, model, recipe), recipe, checkpoint)
        info = dataclasses.replace(data.info, num_classes=info.num_classes)
    else:
        model = ModelSpec.of_run(recipe, info).build()
    spec = ModelSpec.of_run(recipe, info)
    model.to(processes.device)
    if recipe.mask is not None and checkpoint is None:  # a resumed run has its zeros in its weights
        apply_masks(matched(read_masks(recipe.mask), find_layers(model)))
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    seed_everything(derive_seed("method", recipe.seed))  # again, for an accelerator that has only now been woken
    done = method.prepare(model)
    frozen = freeze_others(model, recipe, done, task)
    if checkpoint is not None:
        load_model_state(model, checkpoint.model, where="checkpoint")
    samples = min(recipe.batch_size, info.train_size)
    setup = Setup(method, processes, task, data, info, spec, model, done, frozen, part_size, steps_per_epoch, samples)
    _check_shares(setup)
    _try(setup)
    return setup


def freeze_others(model: nn.Module, recipe: Recipe, done: Plan | None, task: Task) -> tuple[str, ...]:
    """Keep the parameters of a prepared model from training that the recipe's ``train`` leaves out; return their names.

    The kernels are those that the plan ``done`` changed or, where the method changes none, would be refocused: where a
    plain network trains beside a refocused one, the kernels of the same layers train. Statistics of batch norms are not
    parameters and are updated in any case.

    Raises:
        RecipeError: if no kernel would train, or the model has none of the parameters that are to train.
    """
    if recipe.train == "all":
        return ()
    parts, kept = recipe.train.split("+"), set[str]()
    if "refocus" in parts:
        done = done or plan(model, include=list(recipe.include) or None, exclude=list(recipe.exclude) or None)
        kept |= kernel_names(model, [row.layer for row in done.refocused])
        if not any(parameter.requires_grad for name, parameter in model.named_parameters() if name in kept):
            raise RecipeError("no kernel of this model is chosen to train", where="train", remedy="include and exclude")
    if "norm" in parts:
        kept |= norm_names(model)
    if "head" in parts:
        kept |= task.head_names(model)
    if not any(name in kept for name, _ in model.named_parameters()):
        raise RecipeError("the model has no such parameters", where="train", found=repr(recipe.train))
    frozen = tuple(name for name, p in model.named_parameters() if p.requires_grad and name not in kept)
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return frozen


def thaw(model: nn.Module, names: Iterable[str]) -> None:
    """Let parameters require gradients again, in a model or in its average."""
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)


def norm_names(model: nn.Module) -> set[str]:
    """Return the names of the scales and shifts of a model's normalisations."""
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, _NORMS)
        for own, _ in module.named_parameters(recurse=False)
    }


def _as_the_model_says(task: Task, data: Data, model: nn.Module, recipe: Recipe) -> Data:
    """Open data again if only the built model, by its ``pretrained_cfg``, could say what input its weights take."""
    trained = recipe.pretrained or recipe.checkpoint is not None
    if not isinstance(task, SampleTask) or not trained or of_recipe(recipe):
        return data
    stated = of_model(model, by=recipe.model)
    return task.open_data(recipe, stated) if stated else data


def _with_classes(task: Task, data: Data, recipe: Recipe, checkpoint: Checkpoint | None) -> Data:
    """Map the classes of the data to the outputs of the classifier that is trained further, or by the class map."""
    if not isinstance(task, SampleTask) or not data.info.num_classes:
        if recipe.class_map is not None:
            raise RecipeError("only classifiers have classes to match", where="class_map", found=f"task={recipe.task}")
        return data
    names: tuple[str, ...] = ()
    remedy = Classes.remedy
    if recipe.checkpoint is not None and not recipe.reset_classifier:
        # The weights may be gone when a run is resumed; its checkpoint has their classes.
        names = located(recipe.checkpoint).class_names() if checkpoint is None else checkpoint.data_info().class_names
        remedy += ", or --reset-classifier"
    class_map = read_class_map(recipe.class_map) if recipe.class_map is not None else {}
    # Without names there may be outputs that the data has no classes for; they are known by number for ImageNet, or
    # where a class map gives numbers.
    kept = recipe.num_classes if recipe.pretrained or recipe.checkpoint is not None else None
    numbered = bool(class_map) and all(name.isdecimal() for name in class_map.values())
    outputs = kept if numbered or is_of_imagenet(data.info.class_names, kept) else None
    if recipe.checkpoint is not None and not recipe.reset_classifier and not (names or outputs or class_map):
        data.remark = UNNAMED
    return data.with_classes(Classes(names, outputs, class_map, remedy))


def _open_data(task: Task, recipe: Recipe, goes_on: Statement | None) -> Data:
    """Open the data of a recipe; of a resumed run, with the preprocessing that it was started with."""
    try:
        return task.open_data(recipe, goes_on)
    except DataError as error:
        if goes_on is None:
            raise
        place = f"--data-dir FOLDER or --data {recipe.data.partition(':')[0]}:PATH"
        remedy = f"if the data has moved since the run was started, resume with {place}"
        raise DataError(
            error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy
        ) from error


def _cut(recipe: Recipe, data: Data) -> tuple[int, int]:
    """Return the samples of a part of a batch, over all processes, and the steps of an epoch."""
    parts, found = recipe.grad_accum_steps, str(recipe.batch_size)
    if recipe.batch_size % parts:
        expected = f"a multiple of {parts} parts"
        raise RecipeError(
            "the batch cannot be cut into equal parts", where="batch_size", expected=expected, found=found
        )
    part_size = recipe.batch_size // parts
    steps = data.batches_per_epoch(batch_size=part_size) // parts
    if not steps:
        expected = f"at most {data.info.train_size} with grad_accum_steps = {parts}"
        raise RecipeError("an epoch has fewer samples than a batch", where="batch_size", expected=expected, found=found)
    if recipe.epoch_steps is not None and recipe.epoch_steps > steps:
        expected, found = f"at most {steps} steps of {recipe.batch_size} samples", str(recipe.epoch_steps)
        raise RecipeError("an epoch has not so many samples", where="epoch_steps", expected=expected, found=found)
    if data.per_class is None:  # the only batch of an epoch may be smaller
        part_size = min(part_size, data.info.train_size)
    return part_size, recipe.epoch_steps or steps


def _check_shares(setup: Setup) -> None:
    """Refuse shares that cannot be trained on.

    Raises:
        RecipeError: if samples are mixed and one has no partner, or a process has no sample where all samples are
            looked at together, so that what fills its place would count.
    """
    if setup.recipe.mixes and setup.part_size % 2:
        expected, found = "an even number of samples in each part", str(setup.part_size)
        raise RecipeError("mixup and cutmix need pairs", where="batch_size", expected=expected, found=found)
    compared = "sync_bn" if setup.recipe.sync_bn else "batch_size" if setup.task.compares_samples else None
    if compared and not min(setup.shares):
        what, expected = "a process has no sample of a part", f"at least {setup.processes.world_size} samples in each"
        remedy = "start fewer processes, or give a larger batch_size"
        raise RecipeError(what, where=compared, expected=expected, found=str(setup.part_size), remedy=remedy)


def _check_same_data(now: DataInfo, before: DataInfo) -> None:
    """Check that a run is resumed with the data it was started with."""
    names = [field.name for field in dataclasses.fields(now) if getattr(now, field.name) != getattr(before, field.name)]
    if names:
        expected, found = (", ".join(f"{name}={getattr(of, name)!r}" for name in names) for of in (before, now))
        what = "the data is not what the run was started with"
        raise RunError(what, where=now.name, expected=expected, found=found)


@torch.no_grad()
def _try(setup: Setup) -> None:
    """Run the model on two samples in either mode, so that a misfit is reported before anything is written.

    What the forward in training mode does to buffers, such as the statistics of batch norms, is undone.

    Raises:
        ModelError: if it does not take them, gives what the task cannot use, or its weights are so large that
            statistics of batch norms would be infinite after one step.
        RecipeError: if batch norms have one value per channel to train on.
    """
    task, model, device = setup.task, setup.model, setup.processes.device
    autocast = autocasting(device, setup.recipe.amp)
    samples, targets = next(setup.data.eval_batches("train", batch_size=2))
    samples = setup.placed(samples[:2])
    with evaluating(model), autocast():
        task.check_fit(model, samples, targets, setup.data.info)
    own = max(1, setup.shares[setup.processes.rank])
    targets = task.place(device)(targets[:own])
    samples, before = samples[:own], {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    try:
        with autocast():
            task.check_training(model, samples, targets)
        if broken := not_finite(model, dict(model.named_buffers())):
            what, remedy = "a step in training makes statistics infinite", "load valid weights: these are too large"
            raise ModelError(what, where=some(broken), remedy=remedy)
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            where = type(model).__name__
            raise ModelError("the model does not train on this data", where=where, found=str(error)) from error
        what, expected = (
            "batch norm cannot train on one value per channel",
            "at least 2 samples in each process and part",
        )
        remedy = "a larger batch_size, fewer grad_accum_steps, or norm_statistics = keep"
        found = str(len(samples))
        raise RecipeError(what, where="batch_size", expected=expected, found=found, remedy=remedy) from error
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
