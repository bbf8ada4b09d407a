"""State dicts of kernel space that other programs saved: which they are, and the plain state they merge to.

Tensors have torch's names or those of this package's files. How kernels follow from them is in the state dict's
metadata, which ``torch.save`` keeps and safetensors does not. Where that is missing, it is asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import FIELDS, TransformConfig
from refconv.errors import CheckpointError, SettingError
from refconv.layers import Layer, dotted, find_layers, shown
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, config_of, layout_at
from refconv.surgery.places import SETTINGS, Names
from refconv.surgery.refocusing import transform_at
from refconv.surgery.state import check_shape, metadata_of, plain_metadata, plain_name, with_metadata

_BASE = "base"
_LARGEST = 128  # steps of size that are tried
_MISFIT = "does not fit the settings it was trained with"


def in_kernel_space(state: Mapping[str, Any]) -> bool:
    """Say whether a state holds kernels as bases with what one of this package's transformations trains."""
    return says_settings(state) or any(name.rpartition(".")[2] == "refocus_weight" for name in state)


def says_settings(state: Mapping[str, Any]) -> bool:
    """Say whether a state of kernel space says itself how its kernels are computed, in its metadata."""
    return any(SETTINGS in entry for entry in metadata_of(state).values())


def folded_names(state: Mapping[str, Any]) -> set[str]:
    """Return the names of a state, kernels under their plain names."""
    return {shown(name) for name in state}


def merged_state(
    model: nn.Module, state: Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, where: str
) -> Mapping[str, Any]:
    """Return the plain state that a state of kernel space, of this plain model, merges to.

    ``settings`` are what the state does not say itself: ``transform`` (by default ``refocus``) and its settings. The
    size of a refocusing map follows from the shapes. ``where`` names the file in messages.
    """
    found = [kept for layer in find_layers(model) if (kept := _kept(layer, state))]
    plain_names = {name: kept.layer.key for kept in found for name in kept.tensors}
    for name in state:
        if name.rpartition(".")[2] == "refocus_weight" and name not in plain_names:
            what = f"holds {name} without the kernel it belongs to, or for another model"
            remedy = "give the model that it was trained with; an adapter is for refconv.load_adapter"
            raise CheckpointError(what, where=where, remedy=remedy)
    for kept in found:
        check_shape(kept.layer.label, kept.layer.weight, kept.base, where=where)
    given = settings or {}
    asked = _asked_settings([kept for kept in found if kept.said is None], given, where)
    kernels: dict[str, Any] = {}
    scope, transforms = ForwardScope(), dict[int, KernelTransform]()
    for kept in found:
        said = asked[kept.layer.name] if kept.said is None else kept.said
        said = {**TRANSFORMS[said["transform"]].config_class.unsaid, **said}
        for name, value in given.items():
            if name in said and said[name] != value and name != "map_size":
                what, own, other = "disagrees with the flags", f"{name} {said[name]}", f"{name} {value}"
                raise CheckpointError(what, where=where, expected=own, found=other, remedy=f"leave {name} out")
        if id(kept.layer.weight) not in transforms:  # layers that share a kernel share its transformation
            transforms[id(kept.layer.weight)] = _transform(kept, said, scope, where)
    for kept in found:
        kernels |= dict.fromkeys(kept.tensors, _kernel(kept, transforms[id(kept.layer.weight)], where))
    named = [kept.names for kept in found]
    plain = {
        plain_names.get(name) or plain_name(name, named) or name: kernels.get(name, value)
        for name, value in state.items()
    }
    return with_metadata(plain, plain_metadata(metadata_of(state), named))


@dataclass(frozen=True)
class _Kept:
    """A kernel in a state: its base, what was trained, both their names, and the settings that the state says."""

    layer: Layer
    names: Names
    base: Tensor
    learned: dict[str, Tensor]
    tensors: tuple[str, ...]
    said: Mapping[str, Any] | None


def _kept(layer: Layer, state: Mapping[str, Any]) -> _Kept | None:
    """Return a layer's kernel in a state, if the state holds it in kernel space."""
    names, prefix = Names.of(layer.name, layer.tensor), dotted(layer.name)
    base, start, others = names.base, names.own, set[str]()
    if base not in state or (base == names.key and not any(name.startswith(start) for name in state)):
        base, start, others = prefix + _BASE, prefix, {_BASE, *layer.module.state_dict()}
    short = {name: name.removeprefix(start) for name in state if name.startswith(start)}
    learned = {name: own for name, own in short.items() if own not in others}
    plain = names.key in state and names.key != base
    if plain or base not in state or (start != names.own and not learned):
        return None
    said = metadata_of(state).get(names.own.removesuffix("."), {}).get(SETTINGS)
    if base == names.key and said is None:
        return None  # what is there belongs to something else
    return _Kept(layer, names, state[base], {own: state[name] for name, own in learned.items()}, (base, *learned), said)


def _asked_settings(silent: Sequence[_Kept], given: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return by name of layer the settings that a state does not say, if those given say what tensors do not."""
    if not silent:
        return {}
    kind = TRANSFORMS[name := given.get("transform", "refocus")]
    needed = set(kind.config_class().settings()) - {kind.size}
    if not any(kept.layer.kind == "grouped" for kept in silent):
        needed.discard("order")  # shapes tell whole layers and filters from the rest
    missing = sorted(needed - set(given))
    if missing:
        raise CheckpointError(**_unsaid(missing, where), where=where)
    complete = {"transform": name, **given}
    if kind.size is None or kind.size in given:
        return {kept.layer.name: complete for kept in silent}
    values: list[Any] = [kind.sized(step) for step in range(1, _LARGEST + 1)]
    kernels = [kept.layer.kernel_size for kept in silent]
    for dimensions in {len(kernel) for kernel in kernels} - {1} if kind.size == "map_size" else ():
        largest = (max(taps) for taps in zip(*(kernel for kernel in kernels if len(kernel) == dimensions), strict=True))
        values += itertools.product(*(range(1, 2 * taps, 2) for taps in largest))
    sizes = [_sizes(kept, values, complete, where) for kept in silent]
    # A model is refocused with one setting as a rule, so that a layer may tell what the shapes of another do not.
    common = set.intersection(*map(set, sizes))
    found = {}
    for kept, own in zip(silent, sizes, strict=True):
        acting = {own[size]: size for size in own if size in common or not common}
        if len(acting) > 1:
            fitting = " or ".join(sorted("x".join(map(str, size)) for size in acting))
            at = f"{kept.layer.label} in {where}"
            raise CheckpointError(**_unsaid([kind.size], where), where=at, found=f"shapes that fit {fitting}")
        found[kept.layer.name] = {**complete, kind.size: next(iter(acting))}
    return found


def _unsaid(names: list[str], file: str) -> dict[str, str]:
    """Return what is wrong with a file that does not say these settings, and what helps."""
    flags = " ".join(f"--{FIELDS.get(name, name).replace('_', '-')} ..." for name in names)
    return {
        "what": f"holds kernels that are refocused, but not with which {', '.join(names)}",
        "remedy": f"say it and merge first: refconv merge {file} --model NAME {flags} -o FOLDER; "
        "a file that torch.save made of model.state_dict() says it itself",
    }


def _config(settings: Mapping[str, Any]) -> TransformConfig:
    return config_of(settings["transform"], {name: value for name, value in settings.items() if name != "transform"})


def _sizes(kept: _Kept, values: Sequence[Any], settings: Mapping[str, Any], where: str) -> dict[Any, tuple[int, ...]]:
    """Return the values of the setting of size that give the trained shapes, each with the size that acts there."""
    config, kernel = _config(settings), kept.layer.kernel_size
    kind, layout = TRANSFORMS[config.method], layout_at(kept.layer, config)
    assert kind.size is not None
    shapes = {short: tuple(value.shape) for short, value in kept.learned.items()}
    found = {
        value: layout.map_size(value) if kind.size == "map_size" else (value,)
        for value in values
        if (isinstance(value, int) or len(value) == len(kernel))
        and kind.shapes(layout, dataclasses.replace(config, **{kind.size: value})) == shapes
    }
    if not found:
        expected = f"a {kind.size} that gives the shapes of what was trained"
        raise CheckpointError(_MISFIT, where=f"{kept.layer.label} in {where}", expected=expected, found=str(shapes))
    return found


def _transform(kept: _Kept, settings: Mapping[str, Any], scope: ForwardScope, where: str) -> KernelTransform:
    """Return the transformation of a kernel with what was trained; those of a state know of one another."""
    layer = dataclasses.replace(kept.layer, weight=nn.Parameter(kept.base.clone(), requires_grad=False))
    where = f"{layer.label} in {where}"
    try:
        transform = transform_at(layer, _config(settings), scope)
        transform.load_state_dict(kept.learned, strict=True)
    except (SettingError, RuntimeError) as error:
        raise CheckpointError(_MISFIT, where=where, found=str(error)) from error
    return transform


def _kernel(kept: _Kept, transform: KernelTransform, where: str) -> Tensor:
    """Compute a kernel from its base and what was trained."""
    with torch.no_grad():
        kernel: Tensor = transform(kept.base).detach().clone()
    if not bool(torch.isfinite(kernel).all()):
        what = "the kernel has entries that are not finite"
        raise CheckpointError(what, where=f"{kept.layer.label} in {where}")
    return kernel
