"""Models with their weights: what ``--model``, ``--pretrained`` and ``--checkpoint`` mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refconv.errors import SettingError
from refconv.models.checkpoint import Checkpoint
from refconv.models.model_folder import is_model_folder, read_config
from refconv.models.restore import restore
from refconv.models.spec import LOCAL, ModelSpec
from refconv.models.weights import dtypes_in, is_run_checkpoint, load_state, read_weights
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

    Args:
        model: what it is built from, or its name.
        pretrained: load the builder's pretrained weights; see :meth:`refconv.models.spec.ModelSpec.build`.
        checkpoint: load these weights; see :func:`load_weights`.
        reset_classifier: with ``checkpoint``: start the classifier anew.
        **ends: with a name, the other fields of :class:`refconv.models.spec.ModelSpec`, such as ``num_classes``.

    Raises:
        ModelError: if the name is unknown, or the builder fails.
        CheckpointError: if the weights cannot be read or do not fit.
        SettingError: if there are two sources of weights, or a classifier is to start anew without a checkpoint.

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
    model: nn.Module,
    path: str | Path,
    *,
    reset_classifier: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Load weights strictly into a plain model: all of them, or the model stays as it is.

    Args:
        model: the plain model to fill.
        path: a ``.safetensors`` file; a file of ``torch.save``, read without running code; a model folder, with or
            without ``local-dir:`` before it; a run folder (its result, or its last checkpoint if it has not
            finished); or a run's ``checkpoint.pt``.
        reset_classifier: leave the classifier as it was initialised, whatever its size in the file.
        settings: for weights of kernel space; see :func:`refconv.surgery.merged_state`.

    Raises:
        CheckpointError: if the file is missing, damaged, refused because it would run code, or does not fit.
    """
    where = Path(str(path).removeprefix(LOCAL))
    source = _source(where)
    if source.is_file() and is_run_checkpoint(source):
        state = plain_state_dict(restore(source).model)
    else:
        state = read_weights(source)
    load_state(model, state, where=str(where), reset_classifier=reset_classifier, settings=settings)


def class_names_in(path: str | Path) -> tuple[str, ...]:
    """Return the names of the classes that weights were trained for, in order; empty where they are not known.

    Args:
        path: as :func:`load_weights` takes it.

    Raises:
        CheckpointError: if the file is damaged.
    """
    source = _source(Path(str(path).removeprefix(LOCAL)))
    if is_model_folder(source):
        return tuple(read_config(source).get("label_names") or ())
    if source.is_file() and is_run_checkpoint(source):
        return Checkpoint.load(source).data_info().class_names
    return ()


def stored_dtypes(model: nn.Module, reference: str) -> dict[str, str]:
    """Return the dtypes of a plain model's tensors as the file or folder holds them that it was opened from.

    Loading converts to the model's own dtypes.

    Args:
        model: the model.
        reference: what it was opened from; of a name, or the checkpoint of a run, its own dtypes are returned.

    Raises:
        CheckpointError: if the file is damaged.
    """
    own = plain_state_dict(model)
    source = _source(Path(reference.removeprefix(LOCAL)))
    if source.exists() and not (source.is_file() and is_run_checkpoint(source)):
        return dtypes_in(source, own)
    return {name: str(v.dtype).removeprefix("torch.") for name, v in own.items() if isinstance(v, Tensor)}


def _source(where: Path) -> Path:
    """Return what holds the weights: of a run its result, or its last checkpoint if it has not finished."""
    if is_model_folder(where / "model"):
        return where / "model"
    return where / "checkpoint.pt" if (where / "checkpoint.pt").is_file() else where
