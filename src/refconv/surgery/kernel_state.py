"""State dicts of kernel space that other programs saved: which they are, and the plain state they merge to.

Such a state holds a base and what a transformation trains in place of a kernel, under torch's names
(``X.parametrizations.weight.original``, ``X.parametrizations.weight.0.refocus_weight``) or under those of this
package's files (``X.base``, ``X.refocus_weight``). Tensors alone do not say how the kernel follows from them; the
settings stand in the state dict's metadata, which ``torch.save`` keeps and safetensors does not. Where they are missing
they are asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from refconv.errors import CheckpointError, SettingError
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, complete_settings
from refconv.sites import Site, find_sites
from refconv.surgery.attach import SETTINGS, STEM
from refconv.surgery.reparametrize import transform_at
from refconv.surgery.state import metadata_of, plain_metadata, with_metadata

_ORIGINAL, _TRAINED, _BASE = f"{STEM}original", f"{STEM}0.", "base"
_LARGEST = 128  # steps of size that are tried
_FLAGS = {"scale": "gram-scale"}  # settings whose flags have another name


def in_kernel_space(state: Mapping[str, Any]) -> bool:
    """Say whether a state holds kernels as bases with what one of this package's transformations trains."""
    return any(name.rpartition(".")[2] == "refocus_weight" for name in state) or any(
        SETTINGS in entry for entry in metadata_of(state).values()
    )


def folded_names(state: Mapping[str, Any]) -> set[str]:
    """Return the names of a state, kernels under their plain names."""
    return {name.replace(_ORIGINAL, "weight") for name in state}


def merged_state(
    model: nn.Module, state: Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, where: str
) -> Mapping[str, Any]:
    """Return the plain state that a state of kernel space merges to.

    Args:
        model: the plain model that it belongs to; it is not changed.
        state: the state.
        settings: what the state does not say itself: ``transform`` (by default ``refocus``) and its settings. The size
            of a refocusing map follows from the shapes.
        where: the file, for messages.

    Raises:
        CheckpointError: if a kernel's base is missing or of another shape, a setting is neither in the state nor given,
            or the two differ; the message names it.
    """
    sites = {f"{site.name}." if site.name else "": site for site in find_sites(model)}
    found = {prefix: parts for prefix, site in sites.items() if (parts := _parts(prefix, site, state))}
    for name in state:
        if name.rpartition(".")[2] == "refocus_weight" and not any(name in names for names, _ in found.values()):
            raise CheckpointError(
                f"holds {name} without the kernel it belongs to, or for another model",
                where=where,
                remedy="give the model that it was trained with; an adapter is for refconv.load_adapter",
            )
    transforms = [sites[prefix] for prefix in found]
    plain: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for prefix, (names, own) in found.items():
        said = metadata_of(state).get(f"{prefix}{_TRAINED}".removesuffix("."), {}).get(SETTINGS)
        base = next(state[name] for name, short in names.items() if short == _BASE)
        learned = {short: state[name] for name, short in names.items() if short != _BASE}
        complete = _said_settings(said, settings or {}, where) or _asked_settings(settings or {}, transforms, where)
        plain[f"{prefix}weight"] = _kernel(own, base, learned, complete, where)
        taken.update(dict.fromkeys(names, f"{prefix}weight"))
    rest = {taken.get(name, name): plain.get(taken.get(name, name), value) for name, value in state.items()}
    return with_metadata(rest, plain_metadata(metadata_of(state), found))


def _parts(prefix: str, site: Site, state: Mapping[str, Any]) -> tuple[dict[str, str], Site] | None:
    """Return a site's own names in a state with their short ones, if the state holds it in kernel space."""
    if f"{prefix}weight" in state:
        return None
    if prefix + _ORIGINAL in state:
        names = {name: name.removeprefix(prefix + _TRAINED) for name in state if name.startswith(prefix + _TRAINED)}
        return ({prefix + _ORIGINAL: _BASE, **names}, site) if names else None
    if prefix + _BASE not in state:
        return None
    own = site.module.state_dict()
    names = {name: name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    return {name: short for name, short in names.items() if short not in own}, site


def _said_settings(said: Mapping[str, Any] | None, given: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """Return the settings that the state says itself, if it does.

    Raises:
        CheckpointError: if others were given.
    """
    if said is None:
        return None
    for name, value in given.items():
        if name in said and said[name] != value and name != "map_size":
            raise CheckpointError(
                "says otherwise than the flags",
                where=where,
                expected=f"{name} {said[name]}",
                found=f"{name} {value}",
                remedy=f"leave {name} out",
            )
    return dict(said)


def _asked_settings(given: Mapping[str, Any], sites: list[Site], where: str) -> dict[str, Any]:
    """Return the settings that were given, if they say all that the tensors do not.

    Raises:
        CheckpointError: if one is missing.
    """
    name = given.get("transform", "refocus")
    needed = set(TRANSFORMS[name].defaults()) - {TRANSFORMS[name].size, "start"}
    if not any(site.kind == "grouped" for site in sites):
        needed.discard("order")  # one way of gathering slices only
    missing = sorted(needed - set(given))
    if missing:
        flags = " ".join(f"--{_FLAGS.get(setting, setting.replace('_', '-'))} ..." for setting in missing)
        raise CheckpointError(
            f"holds kernels that are refocused, but not with which {', '.join(missing)}",
            where=where,
            remedy=f"say it and merge first: refconv merge {where} --model NAME {flags} -o FOLDER; "
            "a file that torch.save made of model.state_dict() says it itself",
        )
    return {"transform": name, **given}


def _kernel(site: Site, base: Tensor, learned: dict[str, Tensor], said: dict[str, Any], where: str) -> Tensor:
    """Compute a kernel from its base and what was trained.

    Raises:
        CheckpointError: if they do not fit the site or the settings, or the kernel is not finite.
    """
    if site.weight is None or tuple(base.shape) != tuple(site.weight.shape):
        shape = None if site.weight is None else list(site.weight.shape)
        raise CheckpointError(
            f"{site.label} has another shape", where=where, expected=str(shape), found=str(list(base.shape))
        )
    stored = dataclasses.replace(site, weight=nn.Parameter(base.clone(), requires_grad=False))
    own = dict(said)
    name = own.pop("transform")
    try:
        transform = _sized(stored, name, own, learned)
        transform.load_state_dict(learned, strict=True)
    except (SettingError, RuntimeError) as error:
        raise CheckpointError(
            "does not fit the settings it was trained with", where=f"{site.label} in {where}", found=str(error)
        ) from error
    with torch.no_grad():
        kernel: Tensor = transform(base).detach().clone()
    if not bool(torch.isfinite(kernel).all()):
        raise CheckpointError("the kernel has entries that are not finite", where=f"{site.label} in {where}")
    return kernel


def _sized(site: Site, name: str, settings: dict[str, Any], learned: Mapping[str, Tensor]) -> KernelTransform:
    """Return the transformation of a site; the setting of its size follows from the shapes where it is not given.

    Raises:
        SettingError: if no size gives these shapes.
    """
    kind = TRANSFORMS[name]
    shapes = {short: tuple(value.shape) for short, value in learned.items()}
    if kind.size is not None and kind.size not in settings:
        layout = site.layout(settings.get("order", "contiguous"))
        for step in range(1, _LARGEST + 1):
            size = kind.sized(step)
            complete = complete_settings(name, {**settings, kind.size: size})
            if kind.shapes(layout, **complete) == shapes:
                settings = {**settings, kind.size: size}
                break
        else:
            raise SettingError("no size gives the shapes of what was trained", where=kind.size, found=str(shapes))
    return transform_at(site, name, complete_settings(name, settings), ForwardScope())
