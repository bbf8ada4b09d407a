"""What a task is to the loop: its data, its loss, its measures, and the shape of what goes in and out.

The loop, the recipe's other settings, the order of samples, methods, checkpoints and studies are the same for all
tasks. A new task is one folder here and its name in :mod:`refconv.task_measures`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from refconv.data import Data, DataInfo, Samples, Split, Targets
from refconv.data.dataset import Batch
from refconv.data.preprocessing import Preprocessing, Statement
from refconv.errors import DataError, ModelError, RecipeError
from refconv.models.opening import Opened, input_of
from refconv.models.weights import classifier_names
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import Certificate, evaluating, verify
from refconv.task_measures import measures_of
from refconv.tasks.evaluation import Evaluation, autocasting

if TYPE_CHECKING:
    from PIL import Image

    from refconv.tasks.prediction import Prediction

__all__ = ["Evaluation", "EvaluationRun", "Network", "Objective", "Source", "Task"]

Network = Callable[..., Any]
"""The model in training: itself, or wrapped for several processes."""
Objective = Callable[[Network, Samples, Targets], Tensor]
"""The training loss of one part of a batch, a number; samples and targets are on the device already."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Data to open for a model that was trained before.

    Attributes:
        name: the data.
        root: folder of the data.
        val_split: share of the training samples set aside for validation.
        workers: processes that decode images.
        of_run: whether it is the data that the model was trained on.
    """

    name: str
    root: str | None
    val_split: float
    workers: int
    of_run: bool


@dataclasses.dataclass(frozen=True)
class EvaluationRun:
    """How one evaluation computes.

    Attributes:
        split: what is evaluated on.
        device: where the model is.
        processes: the processes that share the work.
        autocast: makes the context of one forward.
        place: brings samples to the device.
    """

    split: Split
    device: torch.device
    processes: Processes
    autocast: Callable[[], AbstractContextManager[object]]
    place: Callable[[Samples], Samples]


class Task(ABC):
    """One task: classification, detection, segmentation or restoration.

    Attributes:
        name: the word that recipes give.
        threshold: minimum score of a prediction, where the user names none.
        samples_certified: samples on which the result is compared with the model in training.
        prepares_images: whether images are resized and normalised for the model; else it takes them as they are.
    """

    name: ClassVar[str]
    threshold: ClassVar[float] = 0.0
    samples_certified: ClassVar[int] = 32
    prepares_images: ClassVar[bool] = False

    @property
    def primary(self) -> str:
        """The name of the measure to look at first."""
        return measures_of(self.name).primary.name

    def check(self, recipe: Recipe) -> None:
        """Refuse settings that cannot work or would have no effect: those of other tasks here, others in subclasses.

        Raises:
            RecipeError: naming the setting, and why.
        """
        owners = {field.name: field.metadata["task"] for field in dataclasses.fields(Recipe)}
        foreign = {name: owner for name, owner in owners.items() if owner not in {None, self.name}}
        refuse(recipe, self.name, {name: f"it is for {owner}" for name, owner in foreign.items()})

    @abstractmethod
    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open the data of a recipe.

        Args:
            recipe: the settings.
            model: what the model says about its input; by default what the weights say that the recipe names.

        Raises:
            DataError: if it cannot be had.
            SettingError: if an augmentation does not fit it.
        """

    def data_for(self, opened: Opened, name: str | None = None, *, root: str | None = None, workers: int = 0) -> Data:
        """Open data prepared as in the training of a model that was opened, or as its flags say.

        Args:
            opened: the model.
            name: the data; by default what its run was trained on.
            root: folder of the data.
            workers: processes that decode images.

        Raises:
            DataError: if no data is named, or it cannot be opened.
        """
        recipe = opened.recipe
        chosen = name or (None if recipe is None else recipe.data)
        if chosen is None:
            raise DataError("no data named", where="data", remedy="give --data")
        if recipe is None or chosen != recipe.data:
            return self.open_for(opened, Source(chosen, root, 0.0, workers, of_run=False))
        return self.open_for(opened, Source(chosen, root or recipe.data_dir, recipe.val_split, workers, of_run=True))

    @abstractmethod
    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data for a model that was opened; see :meth:`data_for`.

        Raises:
            DataError: if it cannot be opened.
        """

    def preparation(self, opened: Opened) -> Preprocessing | None:
        """Return how single images are prepared for a model; None where it takes images of every size as they are.

        Raises:
            DataError: if the size of its input is not known, or it takes no images.
        """
        return input_of(opened) if self.prepares_images else None

    def place(self, device: torch.device, channels_last: bool) -> Callable[[Samples], Samples]:
        """Return what brings samples to a device, batches of images in channels-last format if asked for."""

        def place(samples: Samples) -> Samples:
            if is_list(samples):
                return [image.to(device, non_blocking=True) for image in samples]
            if channels_last and samples.ndim == 4:
                return samples.to(device, non_blocking=True, memory_format=torch.channels_last)
            return samples.to(device, non_blocking=True)

        return place

    def place_targets(self, device: torch.device) -> Callable[[Targets], Targets]:
        """Return what brings targets to a device: every tensor in them."""

        def move(leaf: Any) -> Any:
            return leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf

        return lambda targets: pytree.tree_map(move, targets)

    def random_samples(self, shape: tuple[int, ...]) -> Samples:
        """Return random samples, the same each time.

        Args:
            shape: [count, *input_size].
        """
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def certify(self, before: nn.Module, after: nn.Module, samples: Samples | None) -> Certificate:
        """Compare two models of this task; see :func:`refconv.surgery.verify`.

        Args:
            before: a model.
            after: another.
            samples: what to compare their outputs on; None compares their structure alone.
        """
        return verify(before, after, samples)

    def outputs(self, model: nn.Module, samples: Samples, info: DataInfo) -> Any:
        """Return what a model in evaluation mode gives for samples, checked.

        Raises:
            ModelError: if it does not take the samples, or gives what this task cannot use.
            OutOfMemoryError: as torch raises it.
        """
        try:
            outputs = model(samples)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise ModelError(
                "the model does not take this data",
                where=type(model).__name__,
                expected=f"samples of shape {list(samples[0].shape)} accepted",
                found=f"{type(error).__name__}: {error}",
            ) from error
        self.check_outputs(model, samples, outputs, info)
        return outputs

    @abstractmethod
    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check what a model in evaluation mode gives.

        Raises:
            ModelError: if this task cannot use it.
        """

    def check_fit(self, model: nn.Module, samples: Samples, targets: Targets, info: DataInfo) -> None:
        """Check, before anything is written, that a model in evaluation mode fits the data.

        Raises:
            ModelError: if it does not take the samples, or gives what this task cannot use.
        """
        self.outputs(model, samples, info)

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check, before anything is written, that a model in training mode takes samples and gives what is trained.

        Raises:
            ModelError: if it gives what this task cannot train.
        """
        outputs = model(samples)
        if not isinstance(outputs, (Tensor, Mapping)):
            raise ModelError(
                "the model's outputs in training cannot be trained",
                **unfit(model, outputs),
                expected="a tensor, or a dictionary of them",
            )

    def warning(self, model: nn.Module, recipe: Recipe) -> str | None:
        """Return a warning about training a model like this; None if there is none.

        Args:
            model: the model in training.
            recipe: the settings.
        """
        return None

    @abstractmethod
    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the training loss; autocast is entered in it, where the recipe asks for bf16.

        Args:
            recipe: the settings.
            info: the facts about the data.
            processes: the processes of the run.
            part_size: samples of a part of a batch, in one process.

        Raises:
            RecipeError: if a setting does not fit.
        """

    def counting(self, recipe: Recipe) -> Callable[[Samples, Targets], float] | None:
        """Return what counts the terms that the loss of one part of a batch is the mean of.

        Parts count in the loss of a step, over all its parts and processes, in proportion. None says that every part of
        the same number of samples has as many.

        Args:
            recipe: the settings.
        """
        return None

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
    ) -> Evaluation:
        """Evaluate a model on every sample of a split, once; the model's mode is put back afterwards.

        Args:
            model: on ``device``, plain or refocused.
            data: the data.
            split: ``train``, ``val`` or ``test``; training samples are not augmented.
            batch_size: samples at a time, in each process.
            device: where the model is; by default where its first parameter is.
            amp: compute in bf16 where that is safe.
            channels_last: give images in channels-last format.
            processes: the processes that share the work; by default this one alone. Each gets the whole result.

        Raises:
            ModelError: if the model does not fit the data.
            DataError: if the split has nothing to evaluate on.
        """
        device = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        shared = processes or Processes(0, 1, device)
        run = EvaluationRun(split, device, shared, autocasting(device, amp), self.place(device, channels_last))
        batches = data.eval_batches(split, batch_size=batch_size, rank=shared.rank, world_size=shared.world_size)
        with evaluating(model), torch.no_grad():
            return self.evaluate_batches(model, data, batches, run)

    @abstractmethod
    def evaluate_batches(
        self, model: nn.Module, data: Data, batches: Iterable[Batch], run: EvaluationRun
    ) -> Evaluation:
        """Evaluate a model in evaluation mode, without gradients, on this process's share; see :meth:`evaluate`.

        Raises:
            ModelError: if the model does not fit the data.
        """

    def definitions(self, data: Data) -> dict[str, str]:
        """Return how measures are computed, by name, where the field has several definitions of one name.

        Args:
            data: what is evaluated on.
        """
        return {}

    def head_names(self, model: nn.Module) -> set[str]:
        """Return the names, in the state dict, of the part of a model that depends on the task's classes.

        Raises:
            ModelError: if there is none.
        """
        return classifier_names(model)

    @abstractmethod
    def predict(
        self, model: nn.Module, images: list[Image.Image], opened: Opened, *, device: torch.device, threshold: float
    ) -> list[Prediction]:
        """Return a model's predictions, one for each image.

        Args:
            model: the model of ``opened``, on ``device``, in evaluation mode, without gradients.
            images: as they were read.
            opened: what is known about the model: preprocessing, class names.
            device: where the model is.
            threshold: minimum score, from 0 to 1; for tasks without scores it has no effect.

        Raises:
            ModelError: if the model does not take them.
        """

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return an image with its ground truth drawn as predictions are; unchanged where there is nothing to draw.

        Args:
            image: a sample as an image.
            target: its target.
            class_names: one name per class.
        """
        return image


def is_list(samples: Samples) -> bool:
    """Say whether samples are a list of images, which may differ in size, and not one tensor."""
    return isinstance(samples, (list, tuple))


def unfit(model: nn.Module, outputs: Any) -> dict[str, str]:
    """Return where and what was found, for an error about a model's outputs."""
    return {"where": type(model).__name__, "found": described(outputs)}


def described(outputs: Any) -> str:
    """Return what kind of outputs these are.

    Example:
        >>> described(torch.zeros(2, 3)), described([{"boxes": 1, "labels": 2}])
        ('[2, 3]', 'a list of 1, first a dictionary of boxes, labels')
    """
    if isinstance(outputs, Tensor):
        return str(list(outputs.shape))
    if isinstance(outputs, Mapping):
        names = [str(key) for key in outputs]
        return f"a dictionary of {', '.join(names[:3]) or 'nothing'}{', ...' if len(names) > 3 else ''}"
    if isinstance(outputs, (list, tuple)) and outputs:
        return f"a list of {len(outputs)}, first {described(outputs[0])}"
    return type(outputs).__name__


def refuse(recipe: Recipe, task: str, reasons: Mapping[str, str]) -> None:
    """Refuse settings that differ from their defaults and would have no effect.

    Args:
        recipe: the settings.
        task: the task, for the message.
        reasons: why, by the name of the setting.

    Raises:
        RecipeError: for the first of them.
    """
    defaults = {field.name: field for field in dataclasses.fields(Recipe)}
    for name, reason in reasons.items():
        value, field = getattr(recipe, name), defaults[name]
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if value != default:
            raise RecipeError(
                f"has no effect in {task}: {reason}", where=name, expected=repr(default), found=repr(value)
            )
