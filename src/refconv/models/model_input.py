"""What a model says about its input: timm's pretrained_cfg, a folder's config.json, torchvision's or transformers' own.

Each source becomes a statement under timm's names. Fresh weights say nothing, but for the size of some architectures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import timm
from timm.data import resolve_data_config
from timm.data.transforms import interp_mode_to_str
from torch import nn

from refconv.data import DataInfo
from refconv.data.opening import PREFIXES
from refconv.data.preprocessing import BESIDE_TIMM, LONGEST, RECIPE, Preprocessing, Statement, resolve
from refconv.data.sources import SOURCES
from refconv.errors import DataError
from refconv.models.builders import TIMM_SOURCES, arguments_with_weights, hub_config, is_handed_over, is_timm
from refconv.models.checkpoint import Checkpoint
from refconv.models.model_folder import located, read_config
from refconv.recipe.recipe import Recipe
from refconv.records import conformed, parsed_json

NOTHING = Statement("", {})
_PREPROCESSOR_FILE = "preprocessor_config.json"
_BESIDE = ("noise", "upscale", "color_mode", "test_input_size", *BESIDE_TIMM)  # what timm does not resolve
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # PIL's numbers, as transformers has them


class _Transformers(TypedDict, total=False):
    do_resize: bool | None
    size: int | dict[str, int] | None
    resample: int
    do_center_crop: bool | None
    crop_size: int | dict[str, int] | None
    crop_pct: float | None
    do_rescale: bool | None
    rescale_factor: float | None
    do_normalize: bool | None
    image_mean: tuple[float, ...] | float | None
    image_std: tuple[float, ...] | float | None
    do_flip_channel_order: bool | None


def of_recipe(recipe: Recipe) -> Statement:
    """Return what the weights that a run starts from say about their input."""
    arguments = {**(arguments_with_weights(recipe.model) if recipe.pretrained else {}), **recipe.model_kwargs}
    if recipe.checkpoint is not None:
        return of_weights(recipe.checkpoint) or of_name(recipe.model, arguments)
    if recipe.pretrained:
        return of_name(recipe.model, arguments)
    known = _timm_cfg(recipe.model)
    if known.get("fixed_input_size") and "img_size" not in recipe.model_kwargs:
        return Statement(f"timm's {recipe.model}", {"input_size": known["input_size"]})
    return NOTHING


def stated_by(recipe: Recipe) -> Statement:
    """Return what a recipe says about preprocessing itself."""
    values = {name: getattr(recipe, name) for name in ("img_size", "mean", "std", "interpolation", "crop_pct")}
    if recipe.interpolation == "random":  # of training alone
        del values["interpolation"]
    return Statement(RECIPE, values)


def channels_of(statements: Sequence[Statement], in_chans: int | None) -> int:
    """Return the channels of a model's input: as it was built, as the first source says which knows, else three."""
    shapes = (said.values.get("input_size") for said in statements)
    return in_chans or next((shape[0] for shape in shapes if shape), 3)


def of_backbone(recipe: Recipe) -> Statement:
    """Return what the weights that the backbone of a detector or segmenter starts from say about their input."""
    if recipe.backbone_checkpoint is not None:
        return of_weights(recipe.backbone_checkpoint) or of_name(recipe.backbone or "")
    return of_name(recipe.backbone or "") if recipe.pretrained else NOTHING


def of_name(name: str, arguments: Mapping[str, Any] | None = None) -> Statement:
    """Return what is known about the input of a model's published weights, by its name; nothing of other builders."""
    source, _, rest = name.partition(":")
    if source == "local-dir":
        return of_weights(rest)
    if source == "torchvision":
        return _of_torchvision(rest, arguments_with_weights(name) if arguments is None else arguments)
    if source == "hf-hub":
        return of_timm(hub_config(name)[0], by=name)
    return of_timm(_timm_cfg(name), by=f"timm's {name}")


def of_timm(cfg: Mapping[str, Any], *, by: str, of_run: bool = False) -> Statement:
    """Return what a ``pretrained_cfg`` says, completed as timm completes it; with ``of_run`` it was trained so."""
    if not cfg:
        return NOTHING
    values = resolve_data_config(pretrained_cfg=dict(cfg))
    if not cfg.get("input_size"):
        del values["input_size"]
    return Statement(by, {**values, **{key: cfg[key] for key in _BESIDE if key in cfg}}, of_run)


def of_model(model: nn.Module, *, by: str) -> Statement:
    """Return what a built model says about its input by an attribute ``pretrained_cfg``, as timm's models do."""
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return of_timm(cfg.to_dict() if hasattr(cfg, "to_dict") else cfg, by=by)


def of_builder(name: str, model: nn.Module) -> Statement:
    """Return what is known about the input of a model that says it by its name, or else by itself once it is built."""
    return of_name(name, vars(model)) or of_model(model, by=name)


def of_weights(reference: str | Path) -> Statement:
    """Return what a run, a model folder, a run's checkpoint, or a file beside weights says about their input."""
    found = located(reference)
    if found.kind == "folder":
        return of_folder(found.path, read_config(found.path), found.recipe())
    if found.kind == "checkpoint":
        checkpoint = Checkpoint.load(found.path)
        return of_checkpoint(checkpoint.trained_by(), checkpoint.data_info(), checkpoint.preprocessing)
    return _of_transformers(found.path if found.path.is_dir() else found.path.parent)


def of_folder(folder: Path, config: Mapping[str, Any], recipe: Recipe | None = None) -> Statement:
    """Return what a model folder's config.json says, or transformers' file beside it."""
    if is_handed_over(config["architecture"]):  # the rest, in folders of earlier versions, was not known
        size = (config.get("pretrained_cfg") or {}).get("input_size")
        return Statement(f"{folder.name}/config.json", {"input_size": size} if size else {}, of_run=True)
    cfg = {**(config.get("pretrained_cfg") or {}), **{name: config[name] for name in BESIDE_TIMM if name in config}}
    if cfg and recipe is not None:  # earlier versions did not write every value into config.json
        cfg = {"crop_pct": crop_pct_of(recipe), **cfg}
    stated = of_timm(cfg, by=f"{folder.name}/config.json", of_run=True)
    return stated or _of_transformers(folder) or of_name(config["architecture"])


def of_checkpoint(recipe: Recipe, info: DataInfo, stored: Mapping[str, Any] | None) -> Statement:
    """Return how a run prepares its data, by the preprocessing ``stored`` in its checkpoint."""
    if stored is not None:
        found = Preprocessing.from_dict(dict(stored))
    else:  # a checkpoint of an earlier version, where the recipe decided the same values
        values = {name: getattr(info, name) for name in ("input_size", "mean", "std")}
        values["interpolation"] = None if recipe.interpolation == "random" else recipe.interpolation
        values["crop_pct"] = crop_pct_of(recipe)
        found = resolve([Statement("checkpoint.pt", values)], in_chans=info.in_chans, where=info.name)
    return Statement("checkpoint.pt", as_run(found, recipe), of_run=True)


def crop_pct_of(recipe: Recipe) -> float | None:
    """Return what evaluation keeps of an image where neither flags nor the model say so: as much as training sees."""
    if recipe.crop_pct is not None:
        return recipe.crop_pct
    whole = recipe.data in SOURCES or recipe.data.partition("/")[0].lower() in PREFIXES or recipe.scale is None
    return 1.0 if whole or recipe.task != "classification" else None  # None: ImageNet's default


def as_run(preprocessing: Preprocessing, recipe: Recipe) -> dict[str, Any]:
    """Return what a run writes into config.json about its input, under timm's names, and how images are degraded."""
    degraded = {"noise": recipe.noise, "upscale": recipe.upscale} if recipe.task == "restoration" else {}
    return {**preprocessing.as_pretrained_cfg(), **degraded}


def _timm_cfg(name: str) -> Mapping[str, Any]:
    """Return timm's configuration of an architecture or of one of its tags of weights; empty for other builders."""
    if not name or name.partition(":")[0] in TIMM_SOURCES or not is_timm(name):
        return {}
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    return known.to_dict() if known is not None else {}


def _of_torchvision(name: str, arguments: Mapping[str, Any]) -> Statement:
    """Return what torchvision's weights say by ``weights.transforms()``; nothing where that is not of images.

    GoogLeNet and Inception v3 were trained on values from -1 to 1, and their builders set ``transform_input`` with the
    weights: the model itself goes from ImageNet's normalisation to these. Without it images are normalised so here.
    """
    from torchvision import models
    from torchvision.transforms import _presets as presets

    if name not in models.list_models():
        return NOTHING
    weights = models.get_model_weights(name).DEFAULT
    made = weights.transforms()
    values: dict[str, Any] = {}
    if isinstance(made, (presets.ImageClassification, presets.SemanticSegmentation)):
        values = {"mean": made.mean, "std": made.std, "interpolation": interp_mode_to_str(made.interpolation)}
    if isinstance(made, presets.ImageClassification):
        (crop,), (side,) = made.crop_size, made.resize_size
        if arguments_with_weights(f"torchvision:{name}") and not arguments.get("transform_input"):
            values |= {"mean": (0.5,), "std": (0.5,)}
        values |= {"img_size": crop, "crop_pct": crop_share(crop, side), "crop_mode": "center"}
    return Statement(f"torchvision's {weights}", values)


def crop_share(crop: int, side: int) -> float:
    """Return the ``crop_pct`` by which timm resizes to ``side`` before it cuts ``crop`` out.

    timm takes ``floor(crop / crop_pct)``, and the quotient of floats may fall just below the whole number.

    Example:
        >>> crop_share(224, 256)
        0.875
    """
    share = crop / side
    return share if math.floor(crop / share) == side else math.nextafter(share, 0)


def _of_transformers(folder: Path) -> Statement:
    """Return what transformers' preprocessor_config.json in a folder says; nothing where there is none."""
    path = folder / _PREPROCESSOR_FILE
    if not path.is_file():
        return NOTHING
    try:
        config: dict[str, Any] = conformed(_Transformers, parsed_json(path.read_text(encoding="utf-8")))
        values = _transformers_values(config)
    except (OSError, ValueError, LookupError) as error:
        what, remedy = "damaged or of an unknown layout", "give --img-size, --mean and --std, and remove the file"
        raise DataError(what, where=str(path), found=str(error), remedy=remedy) from error
    if not (config.get("do_rescale", True) and math.isclose(config.get("rescale_factor") or 1 / 255, 1 / 255)):
        what, remedy = "does not scale images to the range 0 to 1", "give --mean and --std, and remove the file"
        found = str(config.get("rescale_factor"))
        raise DataError(what, where=str(path), expected="rescale_factor 1/255", found=found, remedy=remedy)
    return Statement(path.name, values, of_weights=True)


def _transformers_values(config: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if config.get("do_resize", True) and config.get("size") is not None:
        values |= _transformers_size(config)
        values["interpolation"] = dict(enumerate(_RESAMPLE))[config.get("resample", 2)]
    if config.get("do_normalize", True):
        values |= {"mean": config.get("image_mean"), "std": config.get("image_std")}
    else:
        values |= {"mean": (0.0,), "std": (1.0,)}
    if config.get("do_flip_channel_order"):
        values["color_mode"] = "BGR"
    return values


def _transformers_size(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return size and crop: ``shortest_edge`` keeps the aspect ratio, ``height`` and ``width`` do not."""
    size, crop = config["size"], config.get("crop_size") if config.get("do_center_crop") else None
    if isinstance(crop, Mapping):
        crop = crop["height"]
    if isinstance(size, Mapping) and "height" in size:
        resized, mode = int(size["height"]), "squash"
    else:
        resized, mode = int(size["shortest_edge"] if isinstance(size, Mapping) else size), "center"
    side = int(crop or resized)
    if not (1 <= side <= LONGEST and 1 <= resized <= LONGEST):
        raise ValueError(f"expected sizes from 1 to {LONGEST}, found {side} of {resized}")
    if config.get("crop_pct") is not None and crop is None:  # ConvNeXt's crops below 384 pixels, else stretches
        kept, mode = (config["crop_pct"], "center") if resized < 384 else (1.0, "squash")
        return {"img_size": resized, "crop_pct": kept, "crop_mode": mode}
    return {"img_size": side, "crop_pct": crop_share(side, resized), "crop_mode": mode}
