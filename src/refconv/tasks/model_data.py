"""Input for a model that was opened: data prepared as in its training, or random numbers of the right shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv.data import Data, Samples
from refconv.data.class_names import UNNAMED, Classes, read_class_map
from refconv.data.dataset import as_they_are
from refconv.data.preprocessing import DEFAULT_SIZE, FLAGS, Preprocessing, resolve, stated_size
from refconv.errors import DataError, SettingError
from refconv.models.model_input import channels_of, of_weights
from refconv.models.opening import Opened
from refconv.models.strides import too_small
from refconv.models.weights import classifier_names
from refconv.paths import expanded
from refconv.tasks.registry import task_named
from refconv.tasks.task import Source, Task


def data_for(
    opened: Opened,
    name: str | None = None,
    *,
    root: str | None = None,
    workers: int = 0,
    class_map: str | None = None,
    labelled: bool = True,
) -> Data:
    """Open data with the size, channels and normalisation that a model was trained with, and with its classes.

    By default it is what the model's run was trained on, with the class map of that run: a file that says which class
    of the model each folder belongs to. Without ``labelled`` the labels stay as they are.
    """
    recipe, name, root = opened.recipe, *expanded((name, root))
    chosen = name or (None if recipe is None else recipe.data)
    if chosen is None:
        raise DataError("no data set given", where="data", remedy="give --data, in Python data")
    source = Source(chosen, root, 0.0, workers, of_run=False)
    if recipe is not None and chosen == recipe.data:
        source = Source(chosen, root or recipe.data_dir, recipe.val_split, workers, of_run=True)
    try:
        data = task_named(opened.task).open_for(opened, source)
    except DataError as error:
        if name is not None or error.what != "unknown data":
            raise
        remedy = "name its data by --data, in Python data: a run that was given loaders knows no more of them"
        raise DataError(error.what, where=f"{opened.name}, {chosen}", remedy=remedy) from error
    if not (data.info.class_names and data.info.num_classes) and class_map is not None:
        raise SettingError("the task has no classes to match", where="--class-map", found=opened.task)
    if not (labelled and data.info.class_names and data.info.num_classes):
        return data
    if class_map is None and recipe is not None and name in {None, recipe.data}:
        class_map = recipe.class_map
    if opened.task != "classification" and not opened.class_names and class_map is None:
        data.remark = UNNAMED
        return data
    classes = classes_of(opened, class_map)
    matched = data.with_classes(classes)
    if matched is data and not classes.names and not classes.class_map:
        data.remark = UNNAMED
    return matched


def classes_of(opened: Opened, class_map: str | None = None) -> Classes:
    """Return what is known about the classes of a model; see :func:`refconv.data.class_names.read_class_map`."""
    outputs = opened.arguments.get("num_classes") or getattr(opened.model, "num_classes", None)
    outputs = outputs or len(opened.class_names) or None
    if outputs is None and opened.task != "classification":
        raise SettingError("it is not known which classes the model has", where="--class-map", found=opened.name)
    if outputs is None:
        outputs = opened.model.state_dict()[min(classifier_names(opened.model))].shape[0]
    return Classes(opened.class_names, outputs, read_class_map(class_map) if class_map else {})


def preprocessing_of(opened: Opened, task: Task, data: Data | None = None) -> Preprocessing:
    """Return how samples are prepared for a model, signals too; tasks that take whole images only scale them.

    ``data`` that were opened for the model say what it leaves open, as in an evaluation on them.
    """
    if data is not None and task.prepares_images:
        return data.preprocessing
    size = stated_size(opened.statements)
    in_chans = channels_of(opened.statements, opened.arguments.get("in_chans"))
    if not task.prepares_images:
        return as_they_are(task.name, (in_chans, *(size or (DEFAULT_SIZE, DEFAULT_SIZE))))
    if size is None:
        remedy = "give --img-size or --data, in Python preprocessing={'img_size': 224}, data or images"
        raise DataError("the size of the model's input is not known", where=opened.name, remedy=remedy)
    return resolve(opened.statements, in_chans=in_chans, where=opened.name)


def doubts(opened: Opened, data: Data | None = None) -> list[str]:
    """Return warnings about how images are prepared for a model that is to be used without its data, as by export.

    A file of weights says nothing about it. What is taken then, without ``data``, is what a library says of its own
    weights, where :func:`data_for` lets the data decide. What nobody says, the record names as guesses.
    """
    task, file = task_named(opened.task), opened.located
    if not task.prepares_images:
        return []
    used = preprocessing_of(opened, task, data)
    lines = [line for line in (used.warning, too_small(opened.model, used.input_size)) if line is not None]
    guessed = any(used.sources.get(name) != FLAGS for name in ("input_size", "crop_pct", "mean", "std"))
    silent = file is not None and file.kind == "weights" and not of_weights(file.path)
    if data is None and file is not None and silent and guessed and not used.guesses:
        lines.append(
            f"warning: {file.path} does not say how its images are prepared, and eval may follow the data; written is "
            f"{used}; choose by --img-size, --crop-pct, --mean and --std, or by the --data that eval is to take"
        )
    return lines


def random_input(opened: Opened, count: int) -> Samples:
    """Return random input for a model, the same each time: [count, *input_size], or a list of images for a detector."""
    known: Mapping[str, Any] = opened.stated.values or getattr(opened.model, "pretrained_cfg", {})
    size = known.get("input_size")
    if size is None and opened.recipe is not None:
        size = data_for(opened, labelled=False).info.input_size
    if size is None:
        remedy = "give --data, in Python data"
        raise DataError("the shape of the model's input is not known", where=opened.name, remedy=remedy)
    return task_named(opened.task).random_samples((count, opened.arguments.get("in_chans") or size[0], *size[1:]))


def first_samples(data: Data, count: int) -> Samples:
    """Return the first samples [count or fewer, *input_size] of the test split."""
    samples, _ = next(iter(data.eval_batches("test", batch_size=count)))
    return samples
