"""Models with their weights: what ``--model``, ``--pretrained`` and ``--checkpoint`` mean, and the model of a run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.data.preprocessing import FLAGS, Preprocessing, Statement, resolve
from refconv.errors import CheckpointError, SettingError
from refconv.methods.registry import method_of
from refconv.models.builders import address, arguments_with_weights, build
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.model_folder import (
    LOCAL,
    architecture_of,
    build_from_folder,
    locate,
    located,
    read_config,
    save_model_folder,
)
from refconv.models.model_input import channels_of, of_builder, of_checkpoint, of_weights
from refconv.models.weight_files import read_weights
from refconv.models.weights import classifier_names, fill_backbone, load_state
from refconv.named_code import check_trusted
from refconv.paths import path_of
from refconv.recipe.code import code_of
from refconv.recipe.recipe import Recipe
from refconv.surgery import in_kernel_space, plain_state_dict, says_settings


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from; what is None, and a dropout of 0, is left to the builder."""

    name: str  # ``local-dir:FOLDER`` for a model folder, or as :func:`refconv.models.builders.build` takes it
    num_classes: int | None = None
    in_chans: int | None = None
    drop_rate: float = 0.0
    drop_path_rate: float | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    asked_by: Mapping[str, str] = field(default_factory=dict, compare=False)  # whose ends these are, for messages

    @classmethod
    def of_run(cls, recipe: Recipe, info: DataInfo) -> ModelSpec:
        """Return what the model of a run is built from, by plain values, whatever weights the run starts from."""
        for_task = {"detection": _of_detector, "restoration": _of_restorer, "embedding": _of_embedder}.get(recipe.task)
        own = {} if for_task is None else for_task(recipe, info)
        backbone = {} if recipe.backbone is None else {"backbone": recipe.backbone}
        weights = arguments_with_weights(recipe.model) if recipe.pretrained else {}
        ends = (recipe.num_classes or info.num_classes or None, info.in_chans)
        model_kwargs = {**own, **backbone, **weights, **recipe.model_kwargs}
        asked_by = {name: info.name for name in ("num_classes", "in_chans") if not getattr(recipe, name)}
        return cls(recipe.model, *ends, recipe.drop, recipe.drop_path, model_kwargs, asked_by)

    def build(self, *, pretrained: bool = False, exact: bool = True) -> nn.Module:
        """Build the model, with fresh weights or with those that its builder, or for ``local-dir:`` the folder, has.

        With ``exact=False`` a builder of the user's may make other ends.
        """
        ends = {name: getattr(self, name) for name in ("num_classes", "in_chans", "drop_path_rate")}
        arguments = {**ends, "drop_rate": self.drop_rate or None, **self.model_kwargs}
        if self.name.startswith(LOCAL):
            return build_from_folder(self.name.removeprefix(LOCAL), pretrained=pretrained, **arguments)
        return build(self.name, pretrained=pretrained, exact=exact, asked_by=self.asked_by, **arguments)


def _of_detector(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Return the image size of detectors, and the normalisation, which they do themselves."""
    source = architecture_of(recipe.model).partition(":")[0]
    if source not in {"detector", "torchvision"}:
        return {}
    arguments: dict[str, Any] = {}
    if source == "detector" and not recipe.model.startswith(LOCAL):
        arguments["img_size"] = info.input_size[-1]
    elif recipe.img_size is not None:
        arguments["img_size"] = recipe.img_size
    if any(info.mean) or any(value != 1 for value in info.std):
        arguments |= {"image_mean": list(info.mean), "image_std": list(info.std)}
    return arguments


def _of_embedder(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Return that the model ends with its features, or with a projection of them."""
    return {"num_classes": recipe.num_classes or 0}


def _of_restorer(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Give the project's own restorers the factor, if they enlarge, and smp's decoders as many outputs as inputs."""
    from refconv.models import restorers

    home, _, function = address(recipe.model).partition(":")
    if home == "smp":
        return {"num_classes": info.in_chans}
    builder = getattr(restorers, function, None) if home == restorers.__name__ else None
    enlarges = builder is not None and "upscale" in inspect.signature(builder).parameters
    return {"upscale": recipe.upscale} if enlarges else {}


def named_by(checkpoint: str | Path) -> dict[str, Any]:
    """Return the settings of a recipe that a run, its checkpoint or a model folder says of its network.

    Raises:
        SettingError: if it is a file of weights, which says nothing.
    """
    found = located(checkpoint)
    recipe = Checkpoint.load(found.path).trained_by() if found.kind == "checkpoint" else found.recipe()
    if recipe is not None:
        check_trusted([recipe.model], where=str(checkpoint))
        names = ("task", "model", "model_kwargs", "backbone")
        return {name: value for name in names if (value := getattr(recipe, name)) not in (None, {})}
    if found.kind != "folder":
        what = "a file of weights does not say which model they belong to"
        raise SettingError(what, where=str(checkpoint), remedy="name it by --model")
    config = read_config(found.path)
    check_trusted([config["architecture"]], where=str(checkpoint))
    named = {"task": config.get("task"), "model": config["architecture"], "model_kwargs": config.get("model_args")}
    return {name: value for name, value in named.items() if value}


def completed(recipe: Recipe) -> Recipe:
    """Return a recipe that starts from another run's weights with the arguments that torchvision set beside its own.

    GoogLeNet and Inception v3 transform their input if, and only if, they were built for torchvision's weights; a run
    that goes on from such a run has to build its model in the same way.
    """
    names = arguments_with_weights(recipe.model)
    found = locate(recipe.checkpoint) if names and recipe.checkpoint is not None else None
    known = {} if found is None else found.arguments(recipe.model)
    kept = {name: known[name] for name in names if name in known}
    return replace(recipe, model_kwargs={**kept, **recipe.model_kwargs}) if kept else recipe


def create_model(
    model: str | ModelSpec,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    reset_classifier: bool = False,
    fit_channels: bool = False,
    **ends: Any,
) -> nn.Module:
    """Create a model with the builder's pretrained weights, or those of a checkpoint; see :func:`load_weights`.

    ``reset_classifier`` starts the classifier anew, ``fit_channels`` lets the first convolution take other input
    channels. With a name, ``ends`` are the other fields of :class:`ModelSpec`.

    Example:
        >>> create_model("test_resnet", num_classes=10, in_chans=1).num_classes
        10
    """
    if pretrained and checkpoint is not None:
        raise SettingError("two sources of weights", where="checkpoint", remedy="give pretrained or checkpoint")
    if reset_classifier and checkpoint is None:
        raise SettingError("has no effect without checkpoint", where="reset_classifier")
    spec = model if isinstance(model, ModelSpec) else ModelSpec(model)
    built = replace(spec, **ends).build(pretrained=pretrained)
    if checkpoint is not None:
        load_weights(built, checkpoint, reset_classifier=reset_classifier, fit_channels=fit_channels)
    return built


def load_weights(model: nn.Module, path: str | Path, *, settings: Mapping[str, Any] | None = None, **how: bool) -> None:
    """Load the weights of what :func:`refconv.models.model_folder.locate` finds strictly into a plain model."""
    load_state(model, _plain_weights(path), where=str(path), settings=settings, **how)


def load_backbone(model: nn.Module, reference: str | Path) -> str:
    """Start the backbone of a model from a classifier's weights; return the name of the module that was filled."""
    state = _plain_weights(reference)
    if in_kernel_space(state):
        remedy = "merge it first: refconv merge FILE --model NAME"
        raise CheckpointError("holds refocused kernels", where=str(reference), remedy=remedy)
    return fill_backbone(model, state, where=str(reference))


def _plain_weights(path: str | Path) -> Mapping[str, Tensor]:
    """Return the weights of a file or folder, or those that an unfinished run has now, merged."""
    found = located(path)
    return plain_state_dict(restore(found.path).model) if found.kind == "checkpoint" else read_weights(found.path)


@dataclass(frozen=True)
class Restored:
    """A model out of a checkpoint."""

    model: nn.Module  # the average of the weights, where the run keeps one
    recipe: Recipe
    info: DataInfo  # the facts about its data, with the model's own number of classes
    step: int  # steps that the run had taken
    stated: Statement  # how the run prepares its data


def restore(path: Path | str) -> Restored:
    """Rebuild the model of a run's ``checkpoint.pt``."""
    checkpoint = Checkpoint.load(path_of(path))
    recipe, info = checkpoint.trained_by(), checkpoint.data_info()
    check_trusted(code_of(recipe), where=str(path))
    model = ModelSpec.of_run(recipe, info).build()
    method_of(recipe).prepare(model)
    state = checkpoint.model if checkpoint.model_ema is None else checkpoint.model_ema
    load_model_state(model, state, where=str(path))
    info = replace(info, num_classes=recipe.num_classes or info.num_classes)
    return Restored(model, recipe, info, checkpoint.step, of_checkpoint(recipe, info, checkpoint.preprocessing))


class Merged(NamedTuple):
    """What a file of refocused weights was merged to."""

    model: nn.Module
    preprocessing: Preprocessing
    told: bool  # the file says itself how its kernels were refocused


def merge_weights(
    file: Path, name: str, out: Path, *, settings: Mapping[str, Any], flags: Mapping[str, Any], **ends: Any
) -> Merged:
    """Merge refocused weights of another training program and write the plain model as a model folder.

    ``settings`` are what the file does not say itself, see :func:`refconv.surgery.merged_state`; ``flags`` what the
    user says about the input, for config.json. What is left out is said by a file beside the weights or by the model,
    and last by ImageNet's defaults. ``ends`` are of :class:`ModelSpec`.
    """
    weights = read_weights(file)
    if not in_kernel_space(weights):
        what = "holds plain weights, so there is nothing to merge"
        raise CheckpointError(what, where=str(file), expected="a run's checkpoint, or weights of a refocused model")
    model = create_model(name, **ends)
    in_chans, arguments = ends.get("in_chans"), ends.get("model_kwargs", {})
    load_weights(model, file, settings=settings)
    state = plain_state_dict(model)
    stated = (Statement(FLAGS, flags), of_weights(file) or of_builder(name, model))
    used = resolve(stated, in_chans=channels_of(stated, in_chans), where=str(file))
    classes = ends.get("num_classes") or getattr(model, "num_classes", None)
    classes = classes or len(state[sorted(classifier_names(model))[0]])
    info = DataInfo(str(file), classes, used.in_chans, used.input_size, used.mean, used.std, (), 0, 0, 0)
    save_model_folder(out, state, name=name, info=info, model_kwargs=arguments, preprocessing=used.as_pretrained_cfg())
    return Merged(model, used, says_settings(weights))
