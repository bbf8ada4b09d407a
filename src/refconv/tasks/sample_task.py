"""What the tasks share whose samples, images or signals, have one target each: classes, labels, values, embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from refconv.data import Augmentation, Data, DataInfo, Samples, Targets, open_data
from refconv.data.dataset import Batch
from refconv.data.disk import eval_transform
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing, Statement
from refconv.data.targets import Wanted, check_known, known
from refconv.errors import DataError, ModelError, RecipeError
from refconv.models.model_input import of_recipe, stated_by
from refconv.models.opening import Opened, input_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Evaluation, autocasting
from refconv.tasks.image_data import augmentation_of
from refconv.tasks.losses import Loss, chosen_loss
from refconv.tasks.task import EvaluationRun, Network, Objective, Source, Task, unfit
from refconv.tasks.teaching import Distance, make_teacher

Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_AUXILIARY = {"InceptionOutputs": 0.4}
"""Weight of the losses of auxiliary heads, by the type of the outputs, where it is not 0.3.

0.3 is GoogLeNet's (Szegedy et al. 2014, arXiv 1409.4842, section 5), 0.4 the one Inception v3 is trained with.
"""
NOT_MIXED = dict.fromkeys(("mixup", "cutmix"), "only classes are mixed")


class SampleTask(Task):
    """One target a sample. Models return a tensor [batch, outputs], or a tuple of it and those of auxiliary heads.

    Attributes:
        losses: what ``loss`` may name, the default first.
    """

    prepares_images = True
    losses: ClassVar[Mapping[str, Callable[..., Loss]]] = {}
    without_effect: ClassVar[Mapping[str, str]] = {
        "backbone": "the model is its own backbone",
        "backbone_checkpoint": "give the weights of the whole model by checkpoint",
    }

    @abstractmethod
    def wanted(self, positive: str | None) -> Wanted:
        """Return the targets that the task takes; ``positive`` is the class of a single label."""

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open images or signals: of folders, tables, arrays, small sets in memory, or whatever timm knows."""
        augmentation = augmentation_of(recipe, Augmentation)
        stated = (stated_by(recipe), of_recipe(recipe) if model is None else model)
        settings = {**Source.of(recipe).settings, "in_chans": recipe.in_chans, "stated": stated}
        wanted = self.wanted(recipe.positive)
        data = open_data(recipe.data, augmentation=augmentation, wanted=wanted, **settings)
        if wanted.kind != "classes":
            check_known(data.train_targets(), data.info.class_names, where=recipe.data)
        return data

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with the size, channels and normalisation that a model was trained with."""
        settings = {**source.settings, "in_chans": opened.arguments.get("in_chans"), "stated": opened.statements}
        positive = opened.recipe.positive if opened.recipe is not None else None
        wanted = self.wanted(positive or next(iter(opened.class_names), None))
        return open_data(source.name, for_training=False, wanted=wanted, **settings)

    def check_training(self, model: nn.Module, samples: Samples, targets: Targets) -> None:
        """Check for outputs, alone or with those of auxiliary heads."""
        heads(model(samples))

    def check_outputs(self, model: nn.Module, samples: Samples, outputs: Any, info: DataInfo) -> None:
        """Check for outputs [batch, columns of the targets]."""
        found = columns(outputs)
        if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] != info.num_classes:
            what, expected = "the model's output does not fit the targets", [len(samples), info.num_classes]
            remedy = "give the model that many outputs, by num_classes"
            raise unfit(model, outputs, what, expected=str(expected), remedy=remedy)

    def mixing(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Mixing | None:
        """Return what mixes samples and targets of one process's share of a batch, if the recipe asks for it."""
        return None

    def loss(self, recipe: Recipe, info: DataInfo, device: torch.device) -> Loss:
        """Return the loss of outputs [batch, outputs] in float32 and targets, a number."""
        return chosen_loss(recipe, self.losses, device)

    @property
    def distance(self) -> Distance:
        """What a student's outputs are compared with a teacher's by."""
        raise NotImplementedError

    def objective(self, recipe: Recipe, info: DataInfo, processes: Processes, *, part_size: int) -> Objective:
        """Return the loss, of mixed samples and beside a teacher's outputs where the recipe says so."""
        mixing = self.mixing(recipe, info, processes, part_size=part_size)
        criterion = self.loss(recipe, info, processes.device)
        judged = _of_all(criterion, processes) if self.compares_samples and not processes.alone else criterion
        autocast = autocasting(processes.device, recipe.amp)
        teacher = make_teacher(recipe, processes.device, info, self.distance)

        def objective(network: Network, inputs: Samples, targets: Targets) -> Tensor:
            if mixing is not None:
                inputs, targets = mixing(inputs, targets)
            if teacher is not None:
                teacher.watch(network)
            with autocast():
                outputs, auxiliary, weight = heads(network(inputs))
            loss = judged(outputs.float(), targets)
            for other in auxiliary:
                loss = loss + weight * judged(other.float(), targets)
            return loss if teacher is None else teacher.loss(inputs, outputs, loss)

        if isinstance(criterion, nn.Module) and next(criterion.parameters(), None) is not None:
            if not processes.alone:
                what, remedy = "a loss with parameters of its own trains in one process", "start one process"
                raise RecipeError(what, where="loss", found=f"{processes.world_size} processes", remedy=remedy)
            objective.trained = criterion.train()  # type: ignore[attr-defined]  # functions take attributes
        return objective

    def counting(self, recipe: Recipe) -> Callable[[Samples, Targets], float] | None:
        """Return what counts the known targets of a part; of classes, all are."""
        if self.wanted(None).kind == "classes":
            return None
        return lambda samples, targets: float(known(targets).sum())

    def evaluate_batches(self, model: nn.Module, batches: Iterable[Batch], run: EvaluationRun) -> Evaluation:
        """Evaluate a model by all its outputs together, of all processes."""
        outputs, targets = gathered(self.judged(model, batches, run), run.processes)
        if targets.is_floating_point() and not bool(known(targets).any()):
            remedy = "fill in what is known"
            raise DataError("no sample has a known target", where=run.data.info.name, remedy=remedy)
        return self.evaluation(outputs, targets, run.data)

    def evaluation(self, outputs: Tensor, targets: Tensor, data: Data) -> Evaluation:
        """Return the evaluation of outputs and targets of a split, on the CPU."""
        raise NotImplementedError

    def sample_of(self, opened: Opened, image: Image.Image | Tensor) -> tuple[Tensor, Preprocessing]:
        """Return an image, or the values [C, *spatial] of a file, as a model takes it, and how it was prepared."""
        preprocessing = input_of(opened, pictures=not isinstance(image, Tensor))
        if isinstance(image, Tensor):
            return prepared(image, preprocessing), preprocessing
        return eval_transform(preprocessing)(image.convert(IMAGE_MODES[preprocessing.in_chans])), preprocessing

    def output_for(self, opened: Opened, image: Image.Image | Tensor, device: torch.device) -> Tensor:
        """Return the output of a model for an image, float32 [outputs] on the CPU."""
        sample, _ = self.sample_of(opened, image)
        found: Tensor = columns(self.run(opened.model, sample[None].to(device)))
        return found.float()[0].cpu()


def _of_all(criterion: Loss, processes: Processes) -> Loss:
    """Return a loss of the outputs of all processes, from the share of each.

    Its gradient is that with respect to one's own outputs. It is multiplied by n over one's own samples, as if the loss
    were a mean over samples, since that is how the shares are averaged.
    """

    def judged(outputs: Tensor, targets: Tensor) -> Tensor:
        found = processes.rows(outputs.detach())
        found[processes.rank] = outputs
        together = torch.cat(found)
        loss = criterion(together, torch.cat(processes.rows(targets)))
        return loss.detach() + (loss - loss.detach()) * (len(together) / len(outputs))

    return judged


def prepared(values: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise the values of a sample."""
    spatial = [1] * (values.ndim - 1)
    mean, std = (torch.tensor(x).view(-1, *spatial) for x in (preprocessing.mean, preprocessing.std))
    return (values - mean) / std


def gathered(judged: Iterator[tuple[Samples, Any, Targets]], processes: Processes) -> tuple[Tensor, Tensor]:
    """Return the outputs, float32, and the targets of all processes on the CPU, in no particular order."""
    outputs, targets = [], []
    for _, found, truth in judged:
        outputs.append(columns(found).float().cpu())
        targets.append(truth.cpu())
    own = (torch.cat(outputs), torch.cat(targets)) if outputs else None
    parts = [part for part in processes.gathered(own) if part is not None]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def columns(outputs: Any) -> Any:
    """Return outputs [batch] as [batch, 1], and others as they are."""
    return outputs[:, None] if isinstance(outputs, Tensor) and outputs.ndim == 1 else outputs


def heads(outputs: Any) -> tuple[Tensor, list[Tensor], float]:
    """Return the outputs of a model in training mode, those of auxiliary heads, and the weight of these."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    found = [columns(entry) for entry in several if entry is not None]
    if not found or any(not isinstance(entry, Tensor) or entry.shape != found[0].shape for entry in found):
        what, remedy = "the model's outputs in training mode are not logits", "let its forward return the logits"
        expected = "a tensor [batch, classes], or a tuple of the logits and those of auxiliary classifiers"
        raise ModelError(what, where="model", expected=expected, found=type(outputs).__name__, remedy=remedy)
    return found[0], found[1:], _AUXILIARY.get(type(outputs).__name__, 0.3)
