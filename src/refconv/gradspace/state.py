"""What an optimizer's parameter groups and saved states must have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from refconv.errors import CheckpointError, SettingError
from refconv.gradspace.geometry import Geometry
from refconv.gradspace.groups import SITES
from refconv.parametrizations import with_scale


def check_sites(group: dict[str, Any]) -> None:
    """Check that a group's sites describe its parameters.

    Raises:
        SettingError: if they do not.
    """
    parameters = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
    shapes = [tuple(parameter.shape) for parameter in parameters]
    described = [Geometry.from_dict(site).layout.weight_shape for site in group[SITES]]
    if shapes != described:
        raise SettingError(
            "the sites of a group do not describe its parameters",
            where="RefocusSGD",
            expected=str(described),
            found=str(shapes),
            remedy="make the groups again by refconv.param_groups(model)",
        )


def check_same_sites(ours: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    """Check that a saved state is of the same sites and settings.

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
        sites, others = group.get(SITES, ()), other.get(SITES, ())
        if len(sites) != len(others):
            names, found = ({site["site"] for site in described} for described in (sites, others))
            raise CheckpointError(
                "the state is of other sites",
                where=f"parameter group {number}",
                expected=f"{len(sites)} kernels",
                found=f"{len(others)}; only in one of both: {', '.join(sorted(names ^ found)[:5])}",
            )
        for site, saved_site in zip(sites, others, strict=True):
            before = with_scale(saved_site)
            if site != before:
                keys = [key for key in site if site[key] != before.get(key)]
                raise CheckpointError(
                    f"the state differs in {', '.join(keys)}",
                    where=Geometry.from_dict(site).label,
                    expected=", ".join(str(site[key]) for key in keys),
                    found=", ".join(str(before.get(key)) for key in keys),
                )
        if group.get("decay") != other.get("decay"):
            raise CheckpointError(
                "the state differs in decay",
                where=f"parameter group {number}",
                expected=str(group.get("decay")),
                found=str(other.get("decay")),
            )
