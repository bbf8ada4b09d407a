"""Models with their weights: what ``--model``, ``--pretrained`` and ``--checkpoint`` mean, and the model of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.data.preprocessing import Statement
from refconv.errors import SettingError
from refconv.methods.registry import method_of
from refconv.models.builders import check_named_in_file
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.located import located
from refconv.models.model_input import of_checkpoint
from refconv.models.spec import ModelSpec
from refconv.models.weight_files import read_weights
from refconv.models.weights import load_state
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict


def create_model(
    model: str | ModelSpec,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    reset_classifier: bool = False,
    **ends: Any,
) -> nn.Module:
    """Create a model with the weights asked for.

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
        load_weights(built, checkpoint, reset_classifier=reset_classifier)
    return built


def load_weights(
    model: nn.Module, path: str | Path, *, reset_classifier: bool = False, settings: Mapping[str, Any] | None = None
) -> None:
    """Load weights strictly into a plain model: all of them, or the model stays as it is."""
    state = plain_weights(path)
    load_state(model, state, where=str(path), reset_classifier=reset_classifier, settings=settings)


def plain_weights(path: str | Path) -> Mapping[str, Tensor]:
    """Return the weights of a file or folder, or those that an unfinished run has now, merged."""
    found = located(path)
    return plain_state_dict(restore(found.path).model) if found.kind == "checkpoint" else read_weights(found.path)


@dataclass(frozen=True)
class Restored:
    """A model out of a checkpoint."""

    model: nn.Module
    recipe: Recipe
    info: DataInfo
    step: int
    stated: Statement


def restore(path: Path | str) -> Restored:
    """Rebuild the model of a run's checkpoint."""
    checkpoint = Checkpoint.load(Path(path))
    recipe, info = checkpoint.trained_by(), checkpoint.data_info()
    check_named_in_file(recipe.model)
    model = ModelSpec.of_run(recipe, info).build()
    method_of(recipe).prepare(model)
    state = checkpoint.model if checkpoint.model_ema is None else checkpoint.model_ema
    load_model_state(model, state, where=str(path))
    classes = recipe.num_classes or info.num_classes
    if classes != info.num_classes:
        info = replace(info, num_classes=classes)
    return Restored(model, recipe, info, checkpoint.step, of_checkpoint(recipe, info, checkpoint.preprocessing))
