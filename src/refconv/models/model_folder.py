"""A model folder: config.json and model.safetensors, as timm's ``local-dir:`` reads them; and what other paths hold.

For models that are not timm's, config.json names the builder and its arguments for :func:`load_model_folder`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from refconv.data.preprocessing import BESIDE_TIMM, MOST_OUTPUTS, Preprocessing, resolve
from refconv.digests import COPY_AGAIN, DIGEST, check_digest, with_digest
from refconv.errors import CheckpointError, ModelError, RunError, SettingError, said_by
from refconv.models.builders import arguments_with_weights, build, hub_config, is_handed_over, is_timm
from refconv.models.checkpoint import Checkpoint
from refconv.models.exported import SUFFIXES
from refconv.models.metadata import (
    ADOPTED,
    InputSettings,
    certificate_hash,
    described,
    recorded_recipe,
    said_by_weights,
)
from refconv.models.run_folder import RunFolder, writing
from refconv.models.weight_files import VERSIONS, WEIGHT_FILES, is_run_checkpoint, missing, read_weights
from refconv.models.weights import load_state
from refconv.named_code import check_trusted
from refconv.paths import path_of
from refconv.recipe.code import code_of
from refconv.recipe.recipe import Recipe
from refconv.records import conformed, parsed_json
from refconv.surgery import file_bytes, metadata_of, with_metadata
from refconv.task_measures import TASKS

if TYPE_CHECKING:
    from refconv.data import DataInfo
    from refconv.surgery import Certificate

CONFIG_FILE = "config.json"
README, PREPROCESSOR = "README.md", "preprocessor_config.json"  #: In a folder for a model hub
_WRITTEN = {CONFIG_FILE, *WEIGHT_FILES, ADOPTED, README, PREPROCESSOR}  # the files of model folders, wherever made


class _Config(TypedDict, total=False):
    architecture: str
    task: str
    num_classes: int | None
    num_features: int | None
    model_args: dict[str, Any]
    pretrained_cfg: InputSettings
    label_names: tuple[str, ...] | None
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]
    sample_rate: int | None


LOCAL = "local-dir:"  #: timm's prefix of a folder that holds a model

# What of timm's description of the architecture still holds for other weights: no addresses, no licence, and nothing
# about images, for these weights were trained on others.
_LASTING_KEYS = ("fixed_input_size", "pool_size", "first_conv", "classifier")


def save_model_folder(
    folder: Path | str,
    state: Mapping[str, Tensor],
    *,
    name: str,
    info: DataInfo,
    model_kwargs: Mapping[str, Any],
    preprocessing: Mapping[str, Any] | None = None,
    task: str = "classification",
    certificate: Certificate | str | None = None,
    model: nn.Module | None = None,
    then: str | None = "write it again",
) -> None:
    """Write a plain model; the folder appears whole or not at all, and an earlier model folder is replaced.

    Before anything is written, a fresh model from the builder must take the weights strictly; ``model`` is one that has
    done so, if there is one. ``preprocessing`` says
    how images become tensors, under timm's names, further than ``info``. The file of weights says the same for itself,
    with class names, versions and the hash of the ``certificate``, which may be given as such. ``then`` is what to do
    where it cannot be written, as in :func:`refconv.models.run_folder.writing`.
    """
    folder = path_of(folder)
    check_model_place(folder)
    architecture, arguments = _architecture(name, {**model_kwargs, "in_chans": info.in_chans})
    if model is None or architecture != name:  # of the model in another folder, the name is what config.json will say
        model = build(architecture, **{"num_classes": info.num_classes or None, **arguments})
        load_state(model, state, where=str(folder))
    known = getattr(model, "pretrained_cfg", {})
    lasting = {key: known[key] for key in _LASTING_KEYS if key in known}
    unknown = is_handed_over(architecture)  # its samples came as tensors, and how they were made is not known
    shown = ("input_size",) if unknown else ("input_size", "mean", "std")
    lasting |= {name: list(getattr(info, name)) for name in shown}
    values = {} if unknown else dict(preprocessing or {})
    beside = {name: values.pop(name) for name in BESIDE_TIMM if name in values}
    config: dict[str, Any] = {
        "architecture": architecture,
        **({} if task == "classification" else {"task": task}),
        "num_classes": info.num_classes,
        "num_features": getattr(model, "num_features", None),
        "model_args": arguments,
        "pretrained_cfg": {**lasting, "num_classes": info.num_classes, **values},
        **beside,
    }
    if len(info.class_names) == info.num_classes:
        config["label_names"] = list(info.class_names)
    proof = certificate if isinstance(certificate, str) else ""
    if certificate is not None and not isinstance(certificate, str):
        proof = certificate_hash(certificate.to_dict())
    said = {"class_names": config.get("label_names", ()), "preprocessing": config["pretrained_cfg"]}
    about = described(task=task, architecture=architecture, certificate=proof, **said)
    _write(folder, config, state, about, then)


def check_model_place(folder: Path) -> None:
    """Check that a model can be written to a folder: there is none, or it is empty, a model or rests of one.

    What else is in it would be lost, so that it is refused.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or not (is_model_folder(folder) or _holds_rests(folder)):
        raise RunError("holds something other than a model", where=str(folder), remedy="give another folder")
    if others := sorted({entry.name for entry in folder.iterdir()} - _WRITTEN):
        what, remedy = "holds more than a model, which would be lost", "move it away, or give another folder"
        found = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise RunError(what, where=str(folder), found=found, remedy=remedy)


def _holds_rests(folder: Path) -> bool:
    """Say whether a folder holds nothing, or, of a model written here, the configuration or the weights alone."""
    names = [entry.name for entry in folder.iterdir()]
    if names == [CONFIG_FILE]:
        return DIGEST in (folder / CONFIG_FILE).read_text("utf-8", "replace")
    return not names or (names == [WEIGHT_FILES[0]] and DIGEST in said_by_weights(folder))


def load_model_folder(folder: Path | str, *, builder: str | None = None) -> nn.Module:
    """Load a model folder strictly: written here, or by timm; ``builder`` builds what the folder has no builder of."""
    model = build_from_folder(folder, pretrained=False, builder=builder)
    load_state(model, read_weights(folder), where=str(folder))
    return model


def build_from_folder(
    folder: Path | str, *, pretrained: bool, builder: str | None = None, **arguments: Any
) -> nn.Module:
    """Build the architecture of a model folder, with its weights or fresh ones; arguments that are None are its own."""
    config = read_config(folder)
    name = config["architecture"] if builder is None else builder
    if builder is None and is_timm(config["architecture"]):
        return build(f"{LOCAL}{path_of(folder)}", pretrained=pretrained, **arguments)
    if builder is None:
        check_trusted([name], where=str(folder))
    stored = {"num_classes": config.get("num_classes") or None, **config.get("model_args", {})}
    given = {key: value for key, value in arguments.items() if value is not None}
    model = build(name, **{**stored, **given})
    if pretrained:
        other_classes = given.get("num_classes", stored["num_classes"]) != stored["num_classes"]
        load_state(model, read_weights(folder), where=str(folder), reset_classifier=other_classes)
    return model


def is_model_folder(path: Path | str) -> bool:
    """Say whether ``path`` is a folder with a config.json and weights."""
    return (path_of(path) / CONFIG_FILE).is_file() and has_weights(path_of(path))


def has_weights(folder: Path) -> bool:
    """Say whether a folder holds a file of weights."""
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def read_config(folder: Path | str) -> dict[str, Any]:
    """Return what a model folder's config.json says."""
    path = path_of(folder) / CONFIG_FILE
    try:
        config = parsed_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what, expected = "not a model folder", f"a file {CONFIG_FILE}"
        raise CheckpointError(what, where=str(folder), expected=expected, remedy="check the path") from error
    except (OSError, ValueError) as error:
        remedy = "copy the folder again, or have refconv merge write it again from its run"
        raise CheckpointError("damaged or not JSON", where=str(path), found=said_by(error), remedy=remedy) from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        expected, remedy = "a key 'architecture'", "give the file of weights itself, and the model's name by --model"
        raise CheckpointError("names no architecture", where=str(path), expected=expected, remedy=remedy)
    config = check_digest(config, str(path), ours=False)
    try:
        found: dict[str, Any] = conformed(_Config, config)
    except ValueError as error:
        raise CheckpointError("damaged", where=str(path), found=str(error), remedy=COPY_AGAIN) from error
    if found.get("task", TASKS[0]) not in TASKS:
        where, expected = f"{path}: task", ", ".join(TASKS)
        raise CheckpointError("unknown task", where=where, expected=expected, found=repr(found["task"]))
    _check_values(found, path)
    return found


def _check_values(config: Mapping[str, Any], path: Path) -> None:
    """Refuse values of a configuration that are impossible, naming file and key; what it does not say is left out."""
    cfg: Mapping[str, Any] = config.get("pretrained_cfg") or {}
    for where, part in (("num_classes", config), ("pretrained_cfg.num_classes", cfg)):
        number = part.get("num_classes") or 0
        if not 0 <= number <= MOST_OUTPUTS:
            expected, found = f"a number from 0 to {MOST_OUTPUTS}", str(number)
            raise CheckpointError(
                "out of range", where=f"{path}: {where}", expected=expected, found=found, remedy=COPY_AGAIN
            )
    usual = resolve((), in_chans=3).to_dict()
    said = {name: cfg[name] for name in usual.keys() - {"color_mode", "sources"} if cfg.get(name) is not None}
    said |= {name: (said[name],) for name in ("mean", "std") if isinstance(said.get(name), (int, float))}
    try:
        Preprocessing(**{**usual, **said}).check(where="input_size")
    except SettingError as error:
        where = f"{path}: pretrained_cfg.{error.where}"
        raise CheckpointError(
            error.what, where=where, expected=error.expected, found=error.found, remedy=COPY_AGAIN
        ) from error


def architecture_of(name: str) -> str:
    """Follow a model's name to its architecture; a folder that cannot be read is for others to refuse."""
    source, _, folder = name.partition(":")
    if source == "local-dir" and is_model_folder(folder):
        return str(read_config(folder)["architecture"])
    return name


def _architecture(name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Follow a name to the architecture itself, with all arguments that make it."""
    source, _, rest = name.partition(":")
    if source == "local-dir":
        config = read_config(rest)
        return config["architecture"], {**config.get("model_args", {}), **arguments}
    if source == "hf-hub":
        _, architecture, stored = hub_config(name)
        return architecture, {**stored, **arguments}
    if source == "spandrel" and "hyperparameters" not in arguments:
        from refconv.models.restorers import spandrel_arguments

        network, hyperparameters = spandrel_arguments(build(name))
        return f"spandrel:{network}", {**arguments, "hyperparameters": hyperparameters}
    # A tag names weights, and these are others now.
    return (timm.models.get_arch_name(name) if is_timm(name) else name), arguments


def _write(
    folder: Path, config: dict[str, Any], state: Mapping[str, Tensor], said: dict[str, str], then: str | None
) -> None:
    try:
        text = json.dumps(with_digest(config), indent=2, ensure_ascii=False) + "\n"
    except TypeError as error:
        what = "an argument of the model cannot be written as JSON"
        raise ModelError(what, where=said["architecture"], found=str(error)) from error
    partial = folder.with_name(f".{folder.name}.partial")
    held = {
        key: value.detach().cpu().clone().contiguous() if isinstance(value, Tensor) else value
        for key, value in state.items()
    }
    try:
        _put_back(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / CONFIG_FILE).write_text(text, encoding="utf-8")
        if all(isinstance(value, Tensor) for value in held.values()):
            versions = {name: entry["version"] for name, entry in metadata_of(state).items() if "version" in entry}
            metadata = {"format": "pt", **said, **({VERSIONS: json.dumps(versions)} if versions else {})}
            # save_file would give rights to the owner alone, whatever the umask.
            (partial / WEIGHT_FILES[0]).write_bytes(file_bytes(held, metadata))
        else:  # safetensors holds tensors only
            torch.save(with_metadata(held, metadata_of(state)), partial / WEIGHT_FILES[1])
        for file in partial.iterdir():
            with file.open("rb+") as handle:  # Windows flushes only what may be written
                os.fsync(handle.fileno())
        replace_folder(partial, folder)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            with writing(folder, then):
                raise
        raise RunError("cannot write the model", where=str(folder), found=str(error)) from error


@dataclass(frozen=True)
class Located:
    """What a path holds: a model folder, the resumable state of a run, an exported file, or weights."""

    kind: Literal["folder", "checkpoint", "exported", "weights"]
    path: Path
    run: RunFolder | None = None  # the run that a model folder is the result of

    def recipe(self) -> Recipe | None:
        """Return the recipe of the run or improvement that a model folder is the result of, where it is known.

        Of adopted weights it says which data they were evaluated on.
        """
        if self.run is None:
            return None
        if self.run.recipe_file.is_file():
            return self.run.recipe()
        settings = recorded_recipe(self.run.path)
        if not settings:
            return None
        recipe = Recipe.from_mapping(settings)
        check_trusted(code_of(recipe), where=str(self.run.path))
        return recipe

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes that the weights were trained for; empty where they are not known."""
        if self.kind == "folder":
            return tuple(read_config(self.path).get("label_names") or ())
        return Checkpoint.load(self.path).data_info().class_names if self.kind == "checkpoint" else ()

    def arguments(self, model: str) -> Mapping[str, Any]:
        """Return the further arguments that a model of this name was built with; empty where they are not known."""
        if self.kind == "folder":
            config = read_config(self.path)
            return config.get("model_args", {}) if config["architecture"] == model else {}
        recipe = Checkpoint.load(self.path).trained_by() if self.kind == "checkpoint" else None
        if recipe is None or recipe.model != model:
            return {}
        return {**(arguments_with_weights(model) if recipe.pretrained else {}), **recipe.model_kwargs}


def locate(reference: str | Path) -> Located | None:
    """Find what a path holds; None if nothing is there.

    The path is a run folder (its result, or its last checkpoint if it has not finished), a run's ``checkpoint.pt``, a
    model folder with or without ``local-dir:`` before it, an exported file, or a file or folder of weights.
    """
    path = path_of(str(reference).removeprefix(LOCAL))
    run = RunFolder(path)
    if is_model_folder(run.model_folder):
        return Located("folder", run.model_folder, run)
    if is_model_folder(path):
        return Located("folder", path, run)
    file = run.checkpoint_file if run.checkpoint_file.is_file() else path
    if not file.exists():
        return None
    if file.is_file() and file.suffix in SUFFIXES:
        return Located("exported", file)
    return Located("checkpoint" if file.is_file() and is_run_checkpoint(file) else "weights", file)


def located(reference: str | Path) -> Located:
    """Find what a path holds, or say that nothing is there; see :func:`locate`."""
    found = locate(reference)
    if found is None:
        raise missing(path_of(reference), "no such file, run or model folder")
    return found


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another, which stays where that fails.

    Raises:
        OSError: if a folder cannot be renamed.
    """
    former = _put_back(folder)
    try:
        if folder.exists():
            folder.rename(former)
        new.rename(folder)
    except OSError:
        with contextlib.suppress(OSError):
            _put_back(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _put_back(folder: Path) -> Path:
    """Undo half a replacement, such as that of a process that was killed; return where the former folder is moved."""
    former = folder.with_name(f".{folder.name}.former")
    if former.exists() and not folder.exists():
        former.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    return former
