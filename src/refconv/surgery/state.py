"""Refocused state in files: our own names, so that no file depends on how torch names parametrizations.

A refocused site ``X`` appears as ``X.base`` and ``X.refocus_weight``; everything else keeps its plain name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from refconv.errors import CheckpointError
from refconv.surgery.attach import STEM, transformed


def refocused_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state under the names used in files; the tensors are the model's own, not copies.

    Args:
        model: a refocused or plain model; for a plain one this is its state dict.
    """
    names = _file_names(model)
    return {names.get(key, key): value for key, value in model.state_dict().items()}


def load_refocused_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`refocused_state_dict` returned into a model that is refocused at the same sites, strictly.

    Raises:
        CheckpointError: if keys are missing or surplus, or shapes differ; the message lists them and nothing is loaded.
    """
    names = {ours: theirs for theirs, ours in _file_names(model).items()}
    translated = {names.get(key, key): value for key, value in state.items()}
    own = model.state_dict()
    back = {theirs: ours for ours, theirs in names.items()}
    check_keys(
        [back.get(key, key) for key in own],
        list(state),
        where=f"state for {type(model).__name__}",
    )
    for key, value in translated.items():
        if isinstance(value, Tensor) and value.shape != own[key].shape:
            raise CheckpointError(
                "a tensor has another shape",
                where=back.get(key, key),
                expected=str(list(own[key].shape)),
                found=str(list(value.shape)),
            )
    model.load_state_dict(translated)


def check_keys(expected: Iterable[str], found: Sequence[str], *, where: str, remedy: str | None = None) -> None:
    """Compare two sets of keys.

    Raises:
        CheckpointError: if they differ; the message lists the missing and the surplus ones.
    """
    expected = list(expected)
    missing = [key for key in expected if key not in set(found)]
    surplus = [key for key in found if key not in set(expected)]
    if missing or surplus:
        raise CheckpointError(
            "; ".join(
                f"{len(keys)} {word}: {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
                for word, keys in (("missing", missing), ("surplus", surplus))
                if keys
            ),
            where=where,
            remedy=remedy,
        )


def _file_names(model: nn.Module) -> dict[str, str]:
    """Map torch's names of the refocused tensors to ours."""
    names: dict[str, str] = {}
    for name, _, transform in transformed(model, aliases=True):
        prefix = f"{name}." if name else ""
        names[f"{prefix}{STEM}original"] = f"{prefix}base"
        for key in transform.state_dict():
            names[f"{prefix}{STEM}0.{key}"] = prefix + key
    return names
