"""From what a user names to a model with weights: a run, a model folder, a file of weights, or a model's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from refconv.data.class_names import library_names
from refconv.data.preprocessing import FLAGS, IMAGE_MODES, Preprocessing, Statement, resolve, stated_size
from refconv.errors import CheckpointError, DataError, ModelError, SettingError
from refconv.models.builders import UNKNOWN, is_handed_over, unavailable
from refconv.models.creation import ModelSpec, create_model, restore
from refconv.models.exported import PROGRAMS, SUFFIXES, ExportedModel, open_runtime, stated_by_file
from refconv.models.model_folder import LOCAL, Located, load_model_folder, locate, read_config
from refconv.models.model_input import NOTHING, channels_of, of_builder, of_folder, of_weights, stated_by
from refconv.models.run_folder import RunFolder
from refconv.models.weight_files import missing
from refconv.models.weights import dtypes_in
from refconv.named_code import check_trusted_program
from refconv.paths import expanded
from refconv.process.randomness import derive_seed, seeded
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict
from refconv.task_measures import TASKS

_SUFFIXES = {".pth", ".pt", ".th", ".bin", ".ckpt", ".safetensors", *SUFFIXES}
"""What names of files end in; no model is called so."""
REFERENCES = "a run, a checkpoint, a model folder, weights or the name of a model"

_UNSTATED = Statement("the model", {}, of_run=True)


@dataclass(frozen=True)
class Opened:
    """A model that was named, and what is known about it."""

    model: nn.Module  # in evaluation mode; refocused, where an unfinished run or its checkpoint was named
    name: str
    arguments: Mapping[str, Any]  # what it was built with, ``num_classes`` and ``in_chans`` among it where known
    recipe: Recipe | None = None  # of the run that it comes from
    stated: Statement = _UNSTATED  # what it says about its input
    task: str = "classification"
    class_names: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)  # what the user says about its input instead
    images: tuple[Statement, ...] = ()  # what single images say about it, where nothing else does
    located: Located | None = None  # what holds its weights; None for a bare name

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What is said about its input: by flags, the recipe of its run, the model, then by images."""
        recipe = Statement("recipe.toml", {} if self.recipe is None else stated_by(self.recipe).values, of_run=True)
        return Statement(FLAGS, self.flags), recipe, self.stated, *self.images

    def stored_dtypes(self) -> dict[str, str]:
        """Return the dtypes of the plain tensors as the file or folder holds them, before loading converts them."""
        file = None if self.located is None or self.located.kind == "checkpoint" else self.located.path
        return dtypes_in(file, plain_state_dict(self.model))

    def class_name(self, index: int) -> str:
        """Return the name of a class: as trained, else as timm or torchvision has it, else its number."""
        names = self.class_names
        if not names and self.recipe is None and self.task == TASKS[0]:
            outputs = self.arguments.get("num_classes") or getattr(self.model, "num_classes", None)
            names = library_names(self.name, outputs)
        return names[index] if index < len(names) else str(index)


def open_model(
    reference: str,
    *,
    pretrained: bool = False,
    model: str | None = None,
    like: Opened | None = None,
    task: str | None = None,
    flags: Mapping[str, Any] | None = None,
    exported: bool = False,
) -> Opened:
    """Open what a user named: what :func:`refconv.models.model_folder.locate` finds, or a model by its name.

    With ``pretrained`` a bare name means its pretrained weights, else fresh ones. ``model`` is the name of the model
    that a file of weights belongs to. A bare name, or a file of weights without ``model``, is built with the arguments
    of ``like``. ``task`` is what a model that does not say so itself is for; ``flags`` are what the user says instead.
    With ``exported`` a file that ``refconv export`` wrote will do, which its own runtime runs; it has no modules.
    """
    if task is not None and task not in TASKS:
        raise SettingError("unknown task", where="task", expected=", ".join(TASKS), found=repr(task))
    reference, model = expanded((reference, model))
    opened = replace(_open(reference, pretrained=pretrained, model=model, like=like), flags=flags or {})
    if isinstance(opened.model, ExportedModel) and not exported:
        what, remedy = "an exported file has no modules to look at", "name the run or model folder that it was made of"
        raise ModelError(what, where=reference, expected=REFERENCES, remedy=remedy)
    if task is None or task == opened.task:
        return opened
    if opened.recipe is not None or opened.task != TASKS[0]:
        raise SettingError("the model was trained for another task", where=reference, expected=opened.task, found=task)
    return replace(opened, task=task)


def input_of(opened: Opened, *, pictures: bool = True) -> Preprocessing:
    """Return how single images, or with ``pictures=False`` samples of any kind, are prepared for a model."""
    size = stated_size(opened.statements)
    in_chans = channels_of(opened.statements, opened.arguments.get("in_chans"))
    expected = "input of 1 or 3 channels, height and width"
    if size is None:
        what = "the size of the model's input is not known"
        found = "no size in what the model says, nor square images of one"
        raise DataError(
            what,
            where=opened.name,
            expected=expected,
            found=found,
            remedy="give --img-size, in Python preprocessing={'img_size': 224}",
        )
    if pictures and (len(size) != 2 or in_chans not in IMAGE_MODES):
        found = f"input_size={[in_chans, *size]}"
        raise DataError("the model takes no images", where=opened.name, expected=expected, found=found)
    return resolve(opened.statements, in_chans=in_chans, where=opened.name)


def _open(reference: str, *, pretrained: bool, model: str | None, like: Opened | None) -> Opened:
    found = locate(reference)
    if found is not None and found.path.is_dir() and found.kind == "weights":
        if (run := RunFolder(found.path)).is_run:
            raise run.without_checkpoint()
        expected, remedy = "a file checkpoint.pt, model/ or config.json", "give the file itself"
        raise CheckpointError("neither a run nor a model folder", where=reference, expected=expected, remedy=remedy)
    if found is not None:
        openers = {"checkpoint": _open_checkpoint, "exported": _open_exported}
        opened = openers.get(found.kind)
        if found.kind == "folder":
            return _open_folder(found, model)
        return _open_weights(found, model, like) if opened is None else opened(found)
    if "\\" in reference or ("/" in reference and ":" not in reference) or reference.startswith(LOCAL):
        raise missing(Path(reference.removeprefix(LOCAL)), "no such run, model folder or file", where=reference)
    if Path(reference).suffix in _SUFFIXES:
        raise missing(Path(reference))
    try:
        return _build(reference, like, pretrained=pretrained)
    except ModelError as error:
        if error.what == UNKNOWN and ":" not in reference:  # a name without a slash may be meant as a folder
            what, remedy = f"no such file or folder, and {UNKNOWN}", error.remedy or "check the path"
            expected = f"a run, a model folder, a file, or {error.expected}"
            raise ModelError(what, where=reference, expected=expected, remedy=remedy) from error
        if not pretrained or not _buildable(reference, like):
            raise
        remedy = "give its weights as a file and the name by --model; for structure alone, verify --no-pretrained"
        raise unavailable(reference, error.found or error.what, remedy) from error


def _buildable(reference: str, like: Opened | None) -> bool:
    """Say whether a model can be built by this name with fresh weights."""
    try:
        return bool(_build(reference, like, pretrained=False))
    except ModelError:
        return False


def _open_folder(found: Located, model: str | None = None) -> Opened:
    """Open a model folder; of a network that was handed over in Python, ``model`` is what builds it."""
    config, recipe = read_config(found.path), found.recipe()
    arguments = {"num_classes": config.get("num_classes") or None, **config.get("model_args", {})}
    stated, task = of_folder(found.path, config, recipe), config.get("task", "classification")
    known = {"task": task, "class_names": found.class_names(), "located": found}
    builder = model if is_handed_over(config["architecture"]) else None
    built = load_model_folder(found.path, builder=builder).eval()
    return Opened(built, builder or config["architecture"], arguments, recipe, stated, **known)


def _open_checkpoint(found: Located) -> Opened:
    restored = restore(found.path)
    recipe, info = restored.recipe, restored.info
    arguments = {**ModelSpec.of_run(recipe, info).model_kwargs, "num_classes": info.num_classes or None}
    arguments["in_chans"] = info.in_chans
    known: dict[str, Any] = {"task": recipe.task, "class_names": info.class_names, "located": found}
    return Opened(restored.model.eval(), recipe.model, arguments, recipe, restored.stated, **known)


def _open_exported(found: Located) -> Opened:
    if (kind := PROGRAMS.get(found.path.suffix)) is not None:
        check_trusted_program(found.path, kind)
    runtime = open_runtime(found.path)
    said = runtime.known
    arguments: dict[str, Any] = {"num_classes": said["num_classes"], "in_chans": said["in_chans"]}
    stated = Statement(found.path.name, stated_by_file(said), of_run=True)
    names = tuple(said["class_names"])
    if names == library_names(said["architecture"], arguments["num_classes"]):
        names = ()  # which Opened looks up, and data match by their synsets as well
    known: dict[str, Any] = {"task": said["task"], "class_names": names}
    model = ExportedModel(runtime).eval()
    return Opened(model, said["architecture"], arguments, stated=stated, located=found, **known)


def _open_weights(found: Located, model: str | None, like: Opened | None) -> Opened:
    path = found.path
    if model is None and like is None:
        what = "holds weights, but not which model they belong to"
        raise CheckpointError(what, where=str(path), remedy="name it by --model")
    # Another run may have started from this file, with a classifier of its own.
    recipe = None if like is None or not like.recipe or not like.recipe.reset_classifier else like.recipe
    anew = recipe is not None and Path(str(recipe.checkpoint)).resolve() == path.resolve()
    opened = _build(model or (like.name if like else ""), like, checkpoint=path, reset_classifier=anew)
    return replace(opened, located=found)


def _build(name: str, like: Opened | None, **weights: Any) -> Opened:
    """Build a model by name as another one was: with all its arguments if it is the same, else with its ends."""
    known = like.arguments if like else {}
    same = like is not None and like.name == name
    arguments = {key: known[key] for key in known if same or key in {"num_classes", "in_chans"}}
    # What the weights leave open, such as other classes, is as the run drew it.
    with seeded(derive_seed("model", like.recipe.seed if like is not None and like.recipe is not None else 0)):
        built = create_model(name, model_kwargs=arguments, **weights)
    stated = NOTHING
    if weights.get("checkpoint") is not None:
        stated = of_weights(weights["checkpoint"]) or (like.stated if like is not None and same else NOTHING)
    if weights.get("checkpoint") is not None or weights.get("pretrained"):
        stated = stated or replace(of_builder(name, built), of_weights=weights.get("checkpoint") is None)
    return Opened(built.eval(), name, arguments, stated=stated, task=like.task if like else "classification")


def open_pair(
    before: str,
    after: str,
    *,
    model: str | None = None,
    pretrained: bool = True,
    flags: Mapping[str, Any] | None = None,
) -> tuple[Opened, Opened]:
    """Open two models to compare; what one does not say about itself, such as a bare name, it takes from the other.

    A bare name means the model with its pretrained weights, as for evaluation: comparing with random weights says
    nothing. Where only the structure matters, ``pretrained=False`` builds it with fresh ones.
    """
    settings: dict[str, Any] = {"pretrained": pretrained, "model": model, "flags": flags}
    if _says_what_it_is(before) or not _says_what_it_is(after):
        first = open_model(before, **settings)
        return first, open_model(after, like=first, **settings)
    second = open_model(after, **settings)
    return open_model(before, like=second, **settings), second


def _says_what_it_is(reference: str) -> bool:
    found = locate(reference)
    return found is not None and found.kind != "weights"
