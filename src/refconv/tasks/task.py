"""A task as the training loop sees it: its data, loss, measures, and the form of its inputs and outputs.

All else (the loop, the order of samples, methods, checkpoints, studies) is the same for all tasks. A new task is one
folder here and its name in :mod:`refconv.task_measures`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from refconv.data import Data, DataInfo, Samples, Split, Targets
from refconv.data.dataset import Batch
from refconv.data.preprocessing import Statement
from refconv.errors import ModelError, RecipeError, lacks_memory
from refconv.models.opening import Opened
from refconv.models.weights import classifier_names
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import Certificate, evaluating, verify
from refconv.task_measures import measures_of
from refconv.tasks.evaluation import Autocast, Evaluation, autocasting

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Evaluation", "EvaluationRun", "Network", "Objective", "Prediction", "Source", "Task"]
NOTHING_FOUND = "nothing above the minimum score"
Network = Callable[..., Any]  #: The model in training: itself, or wrapped for several processes
Objective = Callable[[Network, Samples, Targets], Tensor]
"""The training loss of one part of a batch, a number; samples and targets are on the device already.

An attribute ``trained`` is a module of the loss whose parameters train too, such as a vector for each class.
"""


@dataclasses.dataclass(frozen=True)
class Source:
    """Data to open for a model; ``of_run`` says whether it was trained on them."""

    name: str
    root: str | None
    val_split: float
    workers: int
    of_run: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Source:
        """Return the data of a recipe."""
        return cls(recipe.data, recipe.data_dir, recipe.val_split, recipe.workers, of_run=True)

    @property
    def settings(self) -> dict[str, Any]:
        """What the data of every task take beside their name."""
        return {"root": self.root, "val_split": self.val_split, "workers": self.workers}


@dataclasses.dataclass(frozen=True)
class EvaluationRun:
    """How one evaluation computes: ``autocast`` makes the context of one forward, ``place`` moves samples."""

    data: Data
    split: Split
    device: torch.device
    processes: Processes
    autocast: Autocast
    place: Callable[[Samples], Samples]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A prediction for one image: values ready for JSON, and the same as a line of text.

    ``picture`` is the image with the prediction drawn on it, or the restored image; ``mask`` is the class of each
    pixel, as an image of indices with a palette. They are None where there is nothing to draw.
    """

    content: dict[str, Any]
    words: str
    picture: Image.Image | None = None
    mask: Image.Image | None = None


class Task(ABC):
    """One task: classification, detection, segmentation or restoration.

    Attributes:
        name: the word that recipes give.
        threshold: minimum score of a prediction, where the user names none.
        samples_certified: samples on which the result is compared with the model in training.
        prepares_images: whether images are resized and normalised for the model; else it takes them as they are.
        without_effect: settings that are refused, and why.
        least_outputs: the least ``num_classes`` of a model.
        output_names: what the outputs of an exported model are called.
        takes_softmax: whether the softmax of the outputs is the probabilities of classes, one of which holds.
        compares_samples: whether the loss is of all samples of a part together, and not the mean over them.
        takes_lists: whether models take a list of images, and give dictionaries of what they found.
        backbones: where models keep what a classifier would have, too; the first that is there counts.
    """

    name: ClassVar[str]
    threshold: ClassVar[float] = 0.0
    samples_certified: ClassVar[int] = 32
    prepares_images: ClassVar[bool] = False
    without_effect: ClassVar[Mapping[str, str]] = {}
    least_outputs: ClassVar[int] = 1
    backbones: ClassVar[Sequence[str]] = ()
    output_names: ClassVar[Sequence[str]] = ("logits",)
    takes_softmax: ClassVar[bool] = False
    takes_lists: ClassVar[bool] = False
    compares_samples: ClassVar[bool] = False

    @property
    def primary(self) -> str:
        """The name of the measure to look at first."""
        return measures_of(self.name).primary.name

    def check(self, recipe: Recipe) -> None:
        """Refuse settings that have no effect, those of other tasks among them."""
        owners = {field.name: field.metadata["task"] for field in dataclasses.fields(Recipe)}
        foreign = {name: owner for name, owner in owners.items() if owner not in {None, self.name}}
        self.refuse(recipe, {**{name: f"it is for {owner}" for name, owner in foreign.items()}, **self.without_effect})
        if recipe.num_classes is not None and recipe.num_classes < self.least_outputs:
            remedy = "give --task embedding for the features alone"
            found = str(recipe.num_classes)
            raise RecipeError("too few", where="num_classes", expected="at least 1", found=found, remedy=remedy)

    def refuse(self, recipe: Recipe, reasons: Mapping[str, str]) -> None:
        """Refuse settings that differ from their defaults and would have no effect; the reasons are by their names."""
        defaults = {field.name: field for field in dataclasses.fields(Recipe)}
        for name, reason in reasons.items():
            value, field = getattr(recipe, name), defaults[name]
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            if value != default:
                what = f"has no effect in {self.name}: {reason}"
                raise RecipeError(what, where=name, expected=repr(default), found=repr(value))

    @abstractmethod
    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open the data of a recipe; ``model`` is what the model says about its input, by default what weights say."""

    @abstractmethod
    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data prepared as in the training of a model that was opened."""

    def place(self, device: torch.device, channels_last: bool = False) -> Callable[[Any], Any]:
        """Return what brings all tensors of samples or targets to a device, images in channels-last format if asked."""

        def move(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            layout = torch.channels_last if channels_last and leaf.ndim == 4 else torch.preserve_format
            return leaf.to(device, non_blocking=True, memory_format=layout)

        return lambda values: pytree.tree_map(move, values)

    def random_samples(self, shape: tuple[int, ...]) -> Samples:
        """Return the same random samples of a shape each time; in [0, 1] where images are not normalised."""
        draw = torch.randn if self.prepares_images else torch.rand
        return draw(shape, generator=torch.Generator().manual_seed(0))

    def certify(self, before: nn.Module, after: nn.Module, samples: Samples | None) -> Certificate:
        """Compare two models of this task as :func:`refconv.surgery.verify`; without samples, their structure alone."""
        return verify(before, after, samples)

    def outputs(self, model: nn.Module, samples: Samples, info: DataInfo) -> Any:
        """Return the checked outputs of a model in evaluation mode; running out of memory passes through."""
        outputs = self.run(model, samples)
        self.check_outputs(model, samples, outputs, info)
        return outputs

    def run(self, model: nn.Module, samples: Samples) -> Any:
        """Return what a model gives for samples, unchecked; that it does not take them is one line."""
        try:
            return model(samples)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            if lacks_memory(error):
                raise
            what, expected = "the model does not take this data", f"samples of shape {list(samples[0].shape)} accepted"
            found = f"{type(error).__name__}: {error}"
            where, remedy = type(model).__name__, _channels_remedy(model, samples)
            raise ModelError(what, where=where, expected=expected, found=found, remedy=remedy) from error

    @abstractmethod
    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Raise ModelError if this task cannot use what a model in evaluation mode gives."""

    def check_fit(self, model: nn.Module, samples: Samples, targets: Targets, info: DataInfo) -> None:
        """Raise ModelError, before anything is written, if a model in evaluation mode does not fit the data."""
        self.outputs(model, samples, info)

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Raise ModelError, before anything is written, if what a model in training mode gives cannot be trained."""
        outputs = model(samples)
        if not isinstance(outputs, (Tensor, Mapping)):
            what, expected = "the model's outputs in training cannot be trained", "a tensor, or a dictionary of them"
            raise unfit(model, outputs, what, expected=expected)

    def warning(self, model: nn.Module, recipe: Recipe) -> str | None:
        """Return a warning about training a model like this; None if there is none."""
        return None

    @abstractmethod
    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the training loss, which enters autocast where the recipe asks for bf16.

        ``part_size`` is the number of samples in a part of a batch, over all processes.
        """

    def counting(self, recipe: Recipe) -> Callable[[Samples, Targets], float] | None:
        """Return what counts the terms that the loss of one part of a batch is the mean of.

        Parts count in the loss of a step in proportion. None says that all parts of as many samples have as many.
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

        The arguments are those of :func:`refconv.tasks.classification.task.evaluate`; each process gets the result.
        """
        device = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        shared = processes or Processes(0, 1, device)
        run = EvaluationRun(data, split, device, shared, autocasting(device, amp), self.place(device, channels_last))
        batches = data.eval_batches(split, batch_size=batch_size, rank=shared.rank, world_size=shared.world_size)
        with evaluating(model), torch.no_grad():
            return self.evaluate_batches(model, batches, run)

    def judged(
        self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun
    ) -> Iterator[tuple[Samples, Any, Targets]]:
        """Yield the samples of each batch on the device, the checked outputs for them, and their targets."""
        for samples, targets in batches:
            placed = run.place(samples)
            with run.autocast():
                outputs = self.outputs(model, placed, run.data.info)
            yield placed, outputs, targets

    @abstractmethod
    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a model in evaluation mode, without gradients, on this process's share; see :meth:`evaluate`."""

    def definitions(self, data: Data) -> dict[str, str]:
        """Return how measures are computed, by name, where the field has several definitions of one name."""
        return {}

    def head_names(self, model: nn.Module) -> set[str]:
        """Return the names, in the state dict, of the part of a model that depends on the task's classes."""
        if not self.backbones:
            return classifier_names(model)
        names = {*model.state_dict(), *(name for name, _ in model.named_parameters())}
        backbone = next((prefix for prefix in self.backbones if any(name.startswith(prefix) for name in names)), None)
        if backbone is None:
            what, remedy = "cannot tell the model's head from its backbone", "train all of it, or refocus+norm"
            expected = f"a part called {' or '.join(prefix.rstrip('.') for prefix in self.backbones)}"
            raise ModelError(what, where=type(model).__name__, expected=expected, remedy=remedy)
        return {name for name in names if not name.startswith(backbone)}

    @abstractmethod
    def predict(self, opened: Opened, image: Image.Image, *, device: torch.device, threshold: float) -> Prediction:
        """Return the prediction of a model, on ``device`` in evaluation mode, for an image.

        ``threshold`` is the minimum score, from 0 to 1; for tasks without scores it has no effect.
        """

    def draw_ground_truth(self, image: Image.Image, target: Any, class_names: Sequence[str]) -> Image.Image:
        """Return a sample's image with its target drawn as predictions are; unchanged where nothing is drawn."""
        return image


def _channels_remedy(model: nn.Module, samples: Samples) -> str | None:
    """Return what to do where a model takes other channels than it is given, as weights do not say which it takes."""
    taken = next((module.in_channels for module in model.modules() if isinstance(module, _ConvNd)), None)
    if taken is None or taken == samples[0].shape[0]:
        return None
    return f"its first convolution takes {taken} channels: refconv adopt writes weights as a folder that says so"


def unfit(model: nn.Module | str, outputs: Any, what: str, *, expected: str, remedy: str | None = None) -> ModelError:
    """Return the error for the outputs of a model, or of one of this name, that do not fit."""
    where = model if isinstance(model, str) else type(model).__name__
    return ModelError(what, where=where, expected=expected, found=described(outputs), remedy=remedy)


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
