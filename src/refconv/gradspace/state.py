"""What an optimizer's parameter groups and saved states must have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from refconv.errors import CheckpointError, SettingError
from refconv.gradspace.groups import SITES
from refconv.gradspace.kernel_spec import KernelSpec
from refconv.records import with_scale

# Names of the modules that wrappers put around others: torch.compile, activation checkpointing, DDP, FSDP1.
_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "module", "_fsdp_wrapped_module"}


def plain_name(name: str) -> str:
    """Return a module's name without the wrappers around it or its parents.

    Example:
        >>> plain_name("backbone._orig_mod.0.conv")
        'backbone.0.conv'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def described(group: dict[str, Any], kernels: Sequence[Tensor]) -> dict[Tensor, KernelSpec]:
    """Return the geometry of each parameter of a group of refocused kernels.

    Args:
        group: the group, whose parameters have been made a list.
        kernels: the parameters that its layers describe, of which the group may hold a part.

    Raises:
        SettingError: if the layers do not describe the parameters.
    """
    geometries = [KernelSpec.from_dict(layer) for layer in group[SITES]]
    shapes = [tuple(kernel.shape) for kernel in kernels]
    expected = [geometry.layout.weight_shape for geometry in geometries]
    if shapes != expected:
        raise SettingError(
            "the layers of a group do not describe its parameters",
            where="RefocusSGD",
            expected=str(expected),
            found=str(shapes),
            remedy="make the groups again by refconv.param_groups(model)",
        )
    held = {id(parameter) for parameter in group["params"]}
    pairs = zip(kernels, geometries, strict=True)
    return {kernel: geometry for kernel, geometry in pairs if id(kernel) in held}


def replaced(known: Sequence[Sequence[Tensor]], groups: Sequence[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that somebody exchanged inside of an optimizer's groups, each with its successor.

    Libraries that shard or move models do so between making the optimizer and its steps. Successors take the
    positions of their predecessors.

    Args:
        known: the parameters of each group as they were.
        groups: the groups as they are.

    Raises:
        SettingError: if the successors are not as many, or of other shapes.
    """
    pairs = []
    for number, (before, group) in enumerate(zip(known, groups, strict=True)):
        after = group["params"]
        if len(before) == len(after) and all(old is new for old, new in zip(before, after, strict=True)):
            continue
        ids = {id(parameter) for parameter in before}
        if all(id(parameter) in ids for parameter in after):
            continue  # some were taken out or moved, none is new
        shapes, found = ([tuple(parameter.shape) for parameter in parameters] for parameters in (before, after))
        if shapes != found:
            raise SettingError(
                "the parameters of a group were replaced by others of other shapes",
                where=f"parameter group {number} of RefocusSGD",
                expected=str(shapes),
                found=str(found),
                remedy="make the optimizer again, from refconv.param_groups(model)",
            )
        pairs += [(old, new) for old, new in zip(before, after, strict=True) if old is not new]
    return pairs


def check_same_layers(ours: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    """Check that a saved state is of the same layers and settings.

    Raises:
        CheckpointError: if it is not, saying where they differ first.
    """
    if len(ours) != len(saved):
        raise CheckpointError(
            "the state is of an optimizer with other parameter groups",
            where="RefocusSGD",
            expected=f"{len(ours)} groups",
            found=f"{len(saved)}",
        )
    for number, (group, other) in enumerate(zip(ours, saved, strict=True)):
        if (SITES in group) != (SITES in other):
            raise CheckpointError(
                "the state is not of gradient space" if SITES in group else "the state is of gradient space",
                where=f"parameter group {number}",
                remedy="load it into an optimizer made as the saved one was",
            )
        layers, others = group.get(SITES, ()), other.get(SITES, ())
        if len(layers) != len(others):
            names, found = ({plain_name(layer["site"]) for layer in listed} for listed in (layers, others))
            raise CheckpointError(
                "the state belongs to other layers",
                where=f"parameter group {number}",
                expected=f"{len(layers)} kernels",
                found=f"{len(others)}; only in one of both: {', '.join(sorted(names ^ found)[:5])}",
            )
        for layer, saved_layer in zip(map(_unwrapped, layers), map(_unwrapped, others), strict=True):
            before = with_scale(saved_layer)
            if layer != before:
                keys = [key for key in layer if layer[key] != before.get(key)]
                raise CheckpointError(
                    f"the state differs in {', '.join(keys)}",
                    where=KernelSpec.from_dict(layer).label,
                    expected=", ".join(str(layer[key]) for key in keys),
                    found=", ".join(str(before.get(key)) for key in keys),
                )
        if group.get("decay") != other.get("decay"):
            raise CheckpointError(
                "the state differs in decay",
                where=f"parameter group {number}",
                expected=str(group.get("decay")),
                found=str(other.get("decay")),
            )


def _unwrapped(layer: dict[str, Any]) -> dict[str, Any]:
    return {**layer, "site": plain_name(layer["site"])}
