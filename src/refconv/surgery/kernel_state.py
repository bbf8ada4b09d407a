"""State dicts of kernel space that other programs saved: which they are, and the plain state they merge to.

Such a state holds a base and what a transformation trains in place of a kernel, under torch's names
(``X.parametrizations.weight.original``, ``X.parametrizations.weight.0.refocus_weight``) or under those of this
package's files (``X.base``, ``X.refocus_weight``). Tensors alone do not say how the kernel follows from them; the
settings stand in the state dict's metadata, which ``torch.save`` keeps and safetensors does not. Where they are missing
they are asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import FIELDS
from refconv.errors import CheckpointError, SettingError
from refconv.layers import Layer, dotted, find_layers
from refconv.ops import effective_map_size
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, config_of, layout_at
from refconv.surgery.attach import SETTINGS, STEM
from refconv.surgery.refocusing import transform_at
from refconv.surgery.state import check_shape, metadata_of, plain_metadata, with_metadata

_ORIGINAL, _TRAINED, _BASE = f"{STEM}original", f"{STEM}0.", "base"
_LARGEST = 128  # steps of size that are tried


def in_kernel_space(state: Mapping[str, Any]) -> bool:
    """Say whether a state holds kernels as bases with what one of this package's transformations trains."""
    return says_settings(state) or any(name.rpartition(".")[2] == "refocus_weight" for name in state)


def says_settings(state: Mapping[str, Any]) -> bool:
    """Say whether a state of kernel space says itself how its kernels are computed, in its metadata."""
    return any(SETTINGS in entry for entry in metadata_of(state).values())


def folded_names(state: Mapping[str, Any]) -> set[str]:
    """Return the names of a state, kernels under their plain names."""
    return {name.replace(_ORIGINAL, "weight") for name in state}


def merged_state(
    model: nn.Module, state: Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, where: str
) -> Mapping[str, Any]:
    """Return the plain state that a state of kernel space, of this plain model, merges to.

    ``settings`` are what the state does not say itself: ``transform`` (by default ``refocus``) and its settings. The
    size of a refocusing map follows from the shapes. ``where`` names the file in messages.

    Raises:
        CheckpointError: if a kernel's base is missing or of another shape, a setting is neither in the state nor given,
            shapes fit several sizes of a map, or state and settings differ; the message names it.
    """
    layers = {dotted(layer.name): layer for layer in find_layers(model)}
    found = {prefix: parts for prefix, layer in layers.items() if (parts := _parts(prefix, layer, state))}
    for name in state:
        if name.rpartition(".")[2] == "refocus_weight" and not any(name in names for names, _ in found.values()):
            raise CheckpointError(
                f"holds {name} without the kernel it belongs to, or for another model",
                where=where,
                remedy="give the model that it was trained with; an adapter is for refconv.load_adapter",
            )
    tensors = {prefix: {short: state[name] for name, short in names.items()} for prefix, (names, _) in found.items()}
    bases = {prefix: own.pop(_BASE) for prefix, own in tensors.items()}
    for prefix, base in bases.items():
        check_shape(layers[prefix].label, layers[prefix].weight, base, where=where)
    said = {prefix: _said(state, prefix) for prefix in found}
    silent = {prefix: tensors[prefix] for prefix in found if said[prefix] is None}
    asked = _asked_settings(settings or {}, {prefix: layers[prefix] for prefix in silent}, silent, where)
    plain: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for prefix, (names, own) in found.items():
        complete = _said_settings(said[prefix], settings or {}, where) or asked[prefix]
        plain[f"{prefix}weight"] = _kernel(own, bases[prefix], tensors[prefix], complete, where)
        taken.update(dict.fromkeys(names, f"{prefix}weight"))
    rest = {taken.get(name, name): plain.get(taken.get(name, name), value) for name, value in state.items()}
    return with_metadata(rest, plain_metadata(metadata_of(state), found))


def _parts(prefix: str, layer: Layer, state: Mapping[str, Any]) -> tuple[dict[str, str], Layer] | None:
    """Return a layer's own names in a state with their short ones, if the state holds it in kernel space."""
    if f"{prefix}weight" in state:
        return None
    if prefix + _ORIGINAL in state:
        names = {name: name.removeprefix(prefix + _TRAINED) for name in state if name.startswith(prefix + _TRAINED)}
        return ({prefix + _ORIGINAL: _BASE, **names}, layer) if names else None
    if prefix + _BASE not in state:
        return None
    own = layer.module.state_dict()
    names = {name: name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    return {name: short for name, short in names.items() if short not in own}, layer


def _said(state: Mapping[str, Any], prefix: str) -> Mapping[str, Any] | None:
    return metadata_of(state).get(f"{prefix}{_TRAINED}".removesuffix("."), {}).get(SETTINGS)


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
                "disagrees with the flags",
                where=where,
                expected=f"{name} {said[name]}",
                found=f"{name} {value}",
                remedy=f"leave {name} out",
            )
    return dict(said)


def _asked_settings(
    given: Mapping[str, Any], layers: Mapping[str, Layer], learned: Mapping[str, Mapping[str, Tensor]], where: str
) -> dict[str, dict[str, Any]]:
    """Return the settings of layers whose state does not say them, if those that were given say what tensors do not.

    Raises:
        CheckpointError: if one is missing, or the shapes fit several sizes of a map.
    """
    if not layers:
        return {}
    kind = TRANSFORMS[name := given.get("transform", "refocus")]
    needed = set(kind.config_class().settings()) - {kind.size}
    if not any(layer.kind == "grouped" for layer in layers.values()):
        needed.discard("order")  # one way of gathering slices only
    missing = sorted(needed - set(given))
    if missing:
        raise CheckpointError(**_unsaid(missing, where), where=where)
    complete = {"transform": name, **given}
    if kind.size is None or kind.size in given:
        return dict.fromkeys(layers, complete)
    values = _values(kind, [layer.kernel_size for layer in layers.values()])
    sizes = {prefix: _sizes(layer, kind, values, complete, learned[prefix], where) for prefix, layer in layers.items()}
    # A model is refocused with one setting as a rule, so that a layer may tell what the shapes of another do not.
    common = set.intersection(*map(set, sizes.values()))
    found = {}
    for prefix, own in sizes.items():
        acting = {own[size]: size for size in own if size in common or not common}
        if len(acting) > 1:
            fitting = " or ".join(sorted("x".join(map(str, size)) for size in acting))
            at = f"{layers[prefix].label} in {where}"
            raise CheckpointError(**_unsaid([kind.size], where), where=at, found=f"shapes that fit {fitting}")
        found[prefix] = {**complete, kind.size: next(iter(acting))}
    return found


def _unsaid(names: list[str], file: str) -> dict[str, str]:
    """Return what is wrong with a file that does not say these settings, and what helps."""
    flags = " ".join(f"--{FIELDS.get(name, name).replace('_', '-')} ..." for name in names)
    return {
        "what": f"holds kernels that are refocused, but not with which {', '.join(names)}",
        "remedy": f"say it and merge first: refconv merge {file} --model NAME {flags} -o FOLDER; "
        "a file that torch.save made of model.state_dict() says it itself",
    }


def _values(kind: type[KernelTransform], kernels: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the values of a transformation's setting of size that are tried; of maps also one number per dimension."""
    values: list[Any] = [kind.sized(step) for step in range(1, _LARGEST + 1)]
    for dimensions in {len(kernel) for kernel in kernels} - {1} if kind.size == "map_size" else ():
        largest = (max(taps) for taps in zip(*(kernel for kernel in kernels if len(kernel) == dimensions), strict=True))
        values += itertools.product(*(range(1, 2 * taps, 2) for taps in largest))
    return values


def _sizes(
    layer: Layer,
    kind: type[KernelTransform],
    values: Sequence[Any],
    settings: Mapping[str, Any],
    learned: Mapping[str, Tensor],
    where: str,
) -> dict[Any, tuple[int, ...]]:
    """Return the values of a transformation's setting of size that give the shapes of what was trained at a layer.

    Each comes with the size that acts there: maps are cut to what a kernel allows, so that several values may be one.

    Raises:
        CheckpointError: if there is none.
    """
    assert kind.size is not None
    shapes = {short: tuple(value.shape) for short, value in learned.items()}
    fitting = [value for value in values if isinstance(value, int) or len(value) == len(layer.kernel_size)]
    config = config_of(settings["transform"], {k: v for k, v in settings.items() if k != "transform"})
    layout = layout_at(layer, config)
    found = {
        value: effective_map_size(layer.kernel_size, value) if kind.size == "map_size" else (value,)
        for value in fitting
        if kind.shapes(layout, dataclasses.replace(config, **{kind.size: value})) == shapes
    }
    if not found:
        raise CheckpointError(
            "does not fit the settings it was trained with",
            where=f"{layer.label} in {where}",
            expected=f"a {kind.size} that gives the shapes of what was trained",
            found=str(shapes),
        )
    return found


def _kernel(layer: Layer, base: Tensor, learned: dict[str, Tensor], said: dict[str, Any], where: str) -> Tensor:
    """Compute a kernel from its base and what was trained.

    Raises:
        CheckpointError: if they do not fit the layer or the settings, or the kernel is not finite.
    """
    stored = dataclasses.replace(layer, weight=nn.Parameter(base.clone(), requires_grad=False))
    own = dict(said)
    name = own.pop("transform")
    try:
        transform = transform_at(stored, config_of(name, own), ForwardScope())
        transform.load_state_dict(learned, strict=True)
    except (SettingError, RuntimeError) as error:
        raise CheckpointError(
            "does not fit the settings it was trained with", where=f"{layer.label} in {where}", found=str(error)
        ) from error
    with torch.no_grad():
        kernel: Tensor = transform(base).detach().clone()
    if not bool(torch.isfinite(kernel).all()):
        raise CheckpointError("the kernel has entries that are not finite", where=f"{layer.label} in {where}")
    return kernel
