"""Weights of any origin as a model folder that says what it is: model, task, classes, preprocessing, accuracy."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from refconv.data import Data, DataInfo
from refconv.data.class_names import is_of_imagenet, library_names, warn_of_doubles
from refconv.data.preprocessing import DEFAULT, GUESSED
from refconv.engine.run_record import command, versions
from refconv.errors import CheckpointError, DataError, ModelError, RefconvWarning, RunError, SettingError, said_by
from refconv.models.creation import ModelSpec
from refconv.models.metadata import ADOPTED
from refconv.models.model_folder import check_model_place
from refconv.models.model_input import NOTHING, of_builder, of_weights
from refconv.models.opening import Opened, open_model
from refconv.models.run_folder import check_unused, held, write_whole
from refconv.models.saving import UNCOUNTED, save_opened
from refconv.models.weight_files import read_weights, weights_file
from refconv.models.weights import classifier_names, load_state
from refconv.paths import path_of
from refconv.recipe.recipe import Recipe
from refconv.records import Record, parsed_json
from refconv.surgery import Certificate, in_kernel_space
from refconv.surgery.refocusing import MERGE_FIRST
from refconv.task_measures import TASKS, measures_of
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.model_data import data_for, preprocessing_of, random_input
from refconv.tasks.registry import task_named
from refconv.tasks.task import Task

_BATCH = 64
_SAID: dict[str, Any] = dict.fromkeys(("img_size", "mean", "std", "interpolation", "crop_pct"))  # by the folder itself
_OTHER_HEADS = UNCOUNTED | {"detection"}  # no classes, or several rows a class
_CERTIFIED = 4  # samples on which the folder is compared with the weights
_PLACEHOLDER = "none"  # recipes name data, and weights without data have none


@dataclass(frozen=True)
class AdoptRecord(Record):
    """What a file of weights was made into; ``print(record)`` is the report."""

    folder: str
    weights: str  #: the name of the file; ``a module`` or ``a state dict`` where there is none
    sha256: str  #: of the file, or of the tensors as ``torch.save`` writes them
    model: str
    task: str
    classes: int | None
    classes_from: str  #: where the names of the classes come from
    preprocessing: str  #: how samples are prepared, and where each value comes from
    recipe: dict[str, Any] | None  #: the data as recipes name it, which later commands take by default; None without
    data: str | None
    split: str | None  #: on which the network was evaluated
    samples: int
    measures: dict[str, float]  #: what was measured, by name
    not_evaluated: str  #: why nothing was measured; empty where it was
    certificate: Certificate  #: the folder against the network with the weights
    versions: dict[str, str]
    command: str

    @property
    def holds(self) -> bool:
        """Whether the folder is the network that the weights were given for, and computes the same."""
        certified = self.certificate
        return certified.same_structure and certified.same_outputs is not False and not certified.not_finite

    def __str__(self) -> str:
        primary = measures_of(self.task).primary
        value = self.measures.get(primary.name)
        found = f"not evaluated: {self.not_evaluated}"
        if value is not None:
            found = f"{primary.label} {primary.said(value)} on {self.samples:,} samples of {self.data}, {self.split}"
        number = "" if self.classes is None else f"{self.classes} "
        same = "computes the same as the weights" if self.holds else "NOT the same as the weights"
        if self.certificate.same_outputs is None and self.certificate.not_finite:
            same = "NOT comparable with the weights: outputs are not finite"
        lines = [
            f"{self.folder}: {self.model} for {self.task} with the weights of {self.weights}, {same}",
            f"images   {self.preprocessing}",
            f"classes  {number}{self.classes_from}",
            f"result   {found}",
        ]
        if self.data is None and DEFAULT in self.preprocessing:
            lines.insert(2, f"warning  what is {DEFAULT} is {GUESSED}")
        return "\n".join(lines)


def adopt(
    weights: Path | str | nn.Module | Mapping[str, Any],
    model: str,
    out: Path | str,
    *,
    task: str = "classification",
    class_names: Sequence[str] = (),
    data: str | None = None,
    data_dir: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    force: bool = False,
    **settings: Any,
) -> AdoptRecord:
    """Write weights as a model folder that needs no further explanation, and evaluate it if data are given.

    Args:
        weights: a file (.pth, .safetensors and others), a folder with one, a module, or a state dict.
        model: the name of the model: timm's, ``torchvision:NAME``, or ``module:function`` that builds it.
        out: the model folder.
        task: what the network is for.
        class_names: a name for each output, in order; by default those of the data, in the order of its labels.
        data: name of a data set, such as ``folder:PATH``: for class names, and for an evaluation, which is recorded.
        data_dir: folder of the data.
        preprocessing: ``img_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``; what is left out is said by a
            file beside the weights or by the model, and last by ImageNet's defaults.
        force: replaces an existing model folder.
        **settings: further settings of recipes that say what the model is built from, such as ``model_kwargs`` or
            ``num_classes``; numbers of classes and channels are else those of the weights.

    Raises:
        CheckpointError: if the weights cannot be read, are refocused, or do not fit the model.
        SettingError: if there are not as many names as outputs.
        DataError: if the data cannot be had or do not fit.
        ModelError: if the model cannot be built.
        RunError: if the folder exists already, or holds something other than a model.
    """
    out, flags = path_of(out), {name: value for name, value in (preprocessing or {}).items() if value is not None}
    check_unused(out, force=force)
    check_model_place(out)
    source, state, digest = _read(weights)
    if in_kernel_space(state):
        command_line = f"merge them first: refconv merge {source} --model {model} -o FOLDER"
        remedy = command_line if isinstance(weights, (str, Path)) else MERGE_FIRST
        raise CheckpointError("holds refocused kernels", where=source, remedy=remedy)
    named = {"task": task, "model": model, "data": data or _PLACEHOLDER, "data_dir": data_dir}
    recipe = Recipe.from_mapping({**named, **settings, **flags})
    flags = {name: getattr(recipe, name) for name in flags}  # one number of a mean is a tuple of one from here on
    kind = task_named(task)
    opened, recipe = _with_weights(recipe, state, source, tuple(class_names), flags, weights)
    found = None if data is None else data_for(opened, data, root=data_dir, labelled=False)
    names, named_by = _class_names(opened, kind, tuple(class_names), found)
    opened = dataclasses.replace(opened, class_names=names)
    used = preprocessing_of(opened, kind) if found is None else found.preprocessing
    with held(out, "model folder", force=force):
        save_opened(out, opened, used)
        written = open_model(str(out))
        certificate = kind.certify(opened.model, written.model, random_input(written, _CERTIFIED))
        split, evaluation, why = (None, None, "no data given") if data is None else _evaluated(written, data, data_dir)
        if evaluation is not None and data is not None and class_names:
            _doubt_order(written, evaluation, data, data_dir)
        record = AdoptRecord(
            folder=str(out), weights=source, sha256=digest, model=written.name, task=task,
            classes=None if task in UNCOUNTED else _outputs(opened), classes_from=named_by, preprocessing=str(used),
            recipe=None if data is None else dataclasses.replace(recipe, model=written.name, **_SAID).to_dict(),
            data=None if found is None else found.info.name, split=split,
            samples=0 if evaluation is None else evaluation.samples,
            measures={} if evaluation is None else evaluation.measures(), not_evaluated=why,
            certificate=certificate, versions=versions(), command=command(),
        )  # fmt: skip
        save_opened(out, opened, used, certificate)
        write_whole(out / ADOPTED, record.file_text().encode())
        return record


_WEIGHTS = "a file, a folder, a module or a state dict"


def _read(weights: Path | str | nn.Module | Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    """Return what the weights are called, names and tensors, and their SHA-256."""
    if isinstance(weights, (str, Path)):
        file = weights_file(weights)
        return file.name, read_weights(file), hashlib.sha256(file.read_bytes()).hexdigest()
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    if not isinstance(state, Mapping):
        raise CheckpointError("no weights", where="weights", expected=_WEIGHTS, found=type(weights).__name__)
    content = io.BytesIO()
    torch.save(dict(state), content)
    name = "a module" if isinstance(weights, nn.Module) else "a state dict"
    return name, state, hashlib.sha256(content.getvalue()).hexdigest()


def _with_weights(
    recipe: Recipe, state: Mapping[str, Any], source: str, names: Sequence[str], flags: Mapping[str, Any], weights: Any
) -> tuple[Opened, Recipe]:
    """Build the model with the weights' classes and channels and load them strictly; return it, and its recipe."""
    setting, given = ("num_classes", recipe.num_classes) if recipe.num_classes else ("class_names", len(names) or None)
    recipe = dataclasses.replace(recipe, num_classes=given)
    first = _built(recipe, flags)
    recipe = dataclasses.replace(recipe, **_ends_of(first, state, recipe))
    try:
        model = _built(recipe, flags, source)
        load_state(model, state, where=source)
    except (CheckpointError, ModelError) as error:
        outputs = None if recipe.task in _OTHER_HEADS else _outputs_in(state, first)
        if given is None or outputs in {None, given}:
            raise
        raise _not_the_outputs(setting, f"{outputs}, the outputs of {source}", given) from error
    recipe = dataclasses.replace(recipe, in_chans=recipe.in_chans or _channels(model))
    info = _info_for(recipe, flags)
    ends = {"num_classes": recipe.num_classes, "in_chans": recipe.in_chans}
    arguments = {**ends, **ModelSpec.of_run(recipe, info).model_kwargs}
    stated = of_weights(weights) if isinstance(weights, (str, Path)) else NOTHING
    stated = stated or of_builder(recipe.model, model)
    if recipe.task == "restoration":
        stated = dataclasses.replace(stated, values={**stated.values, "noise": recipe.noise, "upscale": recipe.upscale})
    return Opened(model.eval(), recipe.model, arguments, None, stated, recipe.task, tuple(names), flags), recipe


def _channels(model: nn.Module) -> int | None:
    """Return the input channels of a model: those of its first convolution."""
    return next((module.in_channels for module in model.modules() if isinstance(module, _ConvNd)), None)


def _built(recipe: Recipe, flags: Mapping[str, Any], source: str | None = None) -> nn.Module:
    """Build a model for the weights of ``source``, or, without them, one whose own builder may make other ends."""
    spec = ModelSpec.of_run(recipe, _info_for(recipe, flags))
    asked_by = {} if source is None else {"num_classes": source, "in_chans": source}
    spec = dataclasses.replace(spec, num_classes=recipe.num_classes, in_chans=recipe.in_chans, asked_by=asked_by)
    return spec.build(exact=source is not None)


def _info_for(recipe: Recipe, flags: Mapping[str, Any]) -> DataInfo:
    """Return facts about data for the builders of models, which take size and normalisation of detectors from them."""
    channels, side = recipe.in_chans or 3, recipe.img_size or 224
    mean, std = (tuple(flags.get(name) or (default,)) for name, default in (("mean", 0.0), ("std", 1.0)))
    return DataInfo(recipe.data, recipe.num_classes or 0, channels, (channels, side, side), mean, std, (), 0, 0, 0)


def _ends_of(model: nn.Module, state: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the numbers of classes and input channels of weights where they differ from those of a model."""
    own: dict[str, Any] = model.state_dict()
    found: dict[str, Any] = {}
    if recipe.num_classes is None and recipe.task not in _OTHER_HEADS:
        outputs = _outputs_in(state, model)
        if outputs is not None and outputs != _outputs_in(own, model):
            found["num_classes"] = outputs
    if recipe.in_chans is None:
        first = next((name for name, value in own.items() if value.ndim > 2), "")
        if first in state and state[first].ndim == own[first].ndim and state[first].shape[1] != own[first].shape[1]:
            found["in_chans"] = state[first].shape[1]
    return found


def _outputs_in(state: Mapping[str, Any], model: nn.Module) -> int | None:
    """Return how many outputs the classifier of a model has in weights; None if they, or the model, do not show it."""
    try:
        names = [name for name in sorted(classifier_names(model)) if name.endswith(("weight", "bias"))]
    except ModelError:
        return None
    own = model.state_dict()
    rows = {len(state[name]) for name in names if name in state and state[name].ndim == own[name].ndim}
    return rows.pop() if len(rows) == 1 else None


def _outputs(opened: Opened) -> int | None:
    known = opened.arguments.get("num_classes") or getattr(opened.model, "num_classes", None) or None
    return known or (_outputs_in(opened.model.state_dict(), opened.model) if opened.task == TASKS[0] else None)


def _not_the_outputs(setting: str, expected: str, given: int) -> SettingError:
    """Return the error of names, or of a number of them, that are not those of the outputs."""
    if setting == "num_classes":
        remedy = "leave it out: the number is that of the weights"
        return SettingError(
            "not the number of outputs", where=setting, expected=expected, found=str(given), remedy=remedy
        )
    remedy = "name each output, in order"
    return SettingError(
        "not a name for each output", where=setting, expected=expected, found=f"{given} names", remedy=remedy
    )


def _class_names(opened: Opened, task: Task, given: Sequence[str], data: Data | None) -> tuple[tuple[str, ...], str]:
    """Return the names of the outputs, none where a library knows them, and where they come from in words."""
    outputs, names = _outputs(opened), tuple(given)
    if task.name in UNCOUNTED:
        if names:
            raise SettingError("has no effect: there are no classes", where="class_names", found=task.name)
        return (), "no classes"
    if names:
        if outputs is not None and len(names) != outputs:
            raise _not_the_outputs("class_names", str(outputs), len(names))
        warn_of_doubles(names)
        return names, f"named as given: {_shown(names)}"
    known = library_names(opened.name, outputs) if task.name == "classification" else ()
    of_data = () if data is None else data.info.class_names
    if known and (data is None or is_of_imagenet(of_data, outputs)):
        return (), f"named by the library: {_shown(known)}"
    if data is not None and of_data and outputs in {None, len(of_data)}:
        return tuple(of_data), f"named as in the data, in the order of its labels: {_shown(of_data)}"
    if data is not None and outputs is not None and of_data and task.name == "classification":
        what, remedy = "the data has not a class for each output", "name them by --class-names, in Python class_names"
        raise DataError(what, where=data.info.name, expected=str(outputs), found=str(len(of_data)), remedy=remedy)
    return (), "not named: give --class-names, in Python class_names, or data whose classes are named"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _evaluated(opened: Opened, data: str, data_dir: str | None) -> tuple[str | None, Evaluation | None, str]:
    """Evaluate the folder on the test split of the data, or else on its validation split."""
    found = data_for(opened, data, root=data_dir)
    split = next((split for split in ("test", "val") if found.size_of(split)), None)
    if split is None:
        return None, None, f"{found.info.name} has neither a test nor a validation split"
    part: Any = split
    return split, task_named(opened.task).evaluate(opened.model, found, part, batch_size=_BATCH), ""


def _doubt_order(opened: Opened, evaluation: Evaluation, data: str, data_dir: str | None) -> None:
    """Warn if the outputs fit the data's own order of the classes better than the names that were given.

    Better is more than two standard errors of the share of samples that is right.
    """
    own = data_for(opened, data, root=data_dir, labelled=False).info.class_names
    if opened.task != "classification" or opened.class_names == own or {*opened.class_names} != {*own}:
        return
    _, other, _ = _evaluated(dataclasses.replace(opened, class_names=own), data, data_dir)
    assert other is not None
    given, ordered = (one.measures()["top1"] for one in (evaluation, other))
    if ordered - given > 2 * math.sqrt(ordered * (1 - ordered) / other.samples):
        what, expected = "perhaps in another order than the outputs", f"{_shown(own)}: top-1 {ordered:.2%}"
        found = f"{_shown(opened.class_names)}: {given:.2%} of the same {other.samples:,} samples"
        remedy = "compare --class-names, in Python class_names, with the order that the network was trained in"
        doubt = SettingError(what, where="class_names", expected=expected, found=found, remedy=remedy)
        warnings.warn(str(doubt), RefconvWarning, stacklevel=3)


def read_class_names(given: str) -> tuple[str, ...]:
    """Return class names that were given as ``a,b,c`` or by a file: a name a line, a JSON list, or a JSON object.

    The object has either numbers of outputs as keys, as ``id2label`` of transformers, or as values, as
    ``class_to_idx`` of torchvision.

    Raises:
        RunError: if the file cannot be read.
        SettingError: if the numbers of an object are not those from 0 on.
    """
    path = Path(given)
    if not path.is_file():
        if path.suffix in {".txt", ".json", ".csv"} or "/" in given:
            raise RunError("no such file", where=f"--class-names {given}", expected="a file, or names a,b,c")
        return tuple(name.strip() for name in given.split(","))
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = parsed_json(text) if text.lstrip()[:1] in {"[", "{"} else text.splitlines()
    except (OSError, ValueError) as error:
        raise RunError("cannot be read", where=f"--class-names {given}", found=said_by(error)) from error
    if isinstance(found, dict):
        by_number = all(str(key).isdecimal() for key in found)
        pairs = found.items() if by_number else ((value, key) for key, value in found.items())
        numbered = {str(number): str(name) for number, name in pairs}
        names = [numbered.get(str(number)) for number in range(len(numbered))]
        if None in names or not numbered:
            expected = f"the numbers from 0 to {len(found) - 1}"
            raise SettingError("not a name for each output", where=f"--class-names {given}", expected=expected)
        return tuple(map(str, names))
    return tuple(str(name).strip() for name in found if str(name).strip())
