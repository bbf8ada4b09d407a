"""Parameter groups for gradient space: what they carry, how they are made, and what those of saved states agree in."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor, nn

from refconv.config import RefocusConfig, RefocusSettings, Scale, Start, TransformConfig, Zeros
from refconv.errors import CheckpointError, ModelError, RefconvWarning, SettingError
from refconv.layers import FROZEN, Layer, Masks, admitted, apply_masks, find_layers, matched, select_trained
from refconv.ops import Layout, refocused_blocks, smallest_refocus_weight
from refconv.parametrizations import computing_dtype, first_weight, weight_shape
from refconv.records import with_scale

if TYPE_CHECKING:
    from typing_extensions import Unpack

Decay = Literal["refocus", "kernel", "none"]
_AGAIN = "make groups and optimizer again: refconv.RefocusSGD(refconv.param_groups(model), ...)"
#: The key under which a parameter group holds the geometries of its parameters, one each, None where there is none
SITES = "sites"

# Wrappers whose parameters are those of the model inside, and the attribute that holds it.
_TRANSPARENT = {"DistributedDataParallel": "module", "DataParallel": "module", "OptimizedModule": "_orig_mod"}

# Names of the modules that wrappers put around others: torch.compile, activation checkpointing, DDP, FSDP1.
_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "module", "_fsdp_wrapped_module"}


@dataclass(frozen=True)
class KernelSpec:
    """One refocused layer, as plain data that an optimizer's parameter group can carry and a checkpoint can hold."""

    layer: str
    layout: Layout
    #: taps of the refocusing map per dimension. scale, power: of the Gram, see :func:`refconv.ops.scaling`
    map_size: tuple[int, ...]
    scale: Scale
    power: float
    zeros: Zeros = "fill"  #: what becomes of the base's entries that are zero
    damping: float = 0.0  #: added to the eigenvalues of the Gram, see :func:`refconv.ops.scaling`

    @classmethod
    def of(cls, layer: Layer, config: RefocusConfig) -> KernelSpec:
        """Return the geometry of a layer under the given settings, whose map must fit it."""
        own = layer.name, layer.layout(config.order), layer.map_size(config.map_size, config.order)
        return cls(*own, config.scale, config.power, config.zeros, config.damping)

    @property
    def shape(self) -> dict[str, Any]:
        """What the functions of :mod:`refconv.ops` are told of the Gram."""
        return {"scale": self.scale, "power": self.power, "damping": self.damping}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and lists, as a state dict may hold them."""
        values = dataclasses.asdict(self)
        values["site"] = values.pop("layer")  # its name in files since the first version
        values["layout"]["kernel_size"] = list(self.layout.kernel_size)
        values["map_size"] = list(self.map_size)
        for name, former in (("zeros", "fill"), ("damping", 0.0)):  # as in files of before there was a choice
            if values[name] == former:
                del values[name]
        if self.layout.parts == 1:  # and of before there were complex kernels
            del values["layout"]["parts"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> KernelSpec:
        """Read back what :meth:`to_dict` returned, today or before there was a choice of scales."""
        values = {**with_scale(values), "layer": values["site"]}
        del values["site"]
        layout = {**values["layout"], "kernel_size": tuple(values["layout"]["kernel_size"])}
        return cls(**{**values, "layout": Layout(**layout), "map_size": tuple(values["map_size"])})

    @property
    def label(self) -> str:
        """The layer's name as it is shown to people."""
        return self.layer or "(the model itself)"

    def started(self, base: Tensor, start: Start) -> Tensor:
        """Return the kernel that training starts from; random numbers are drawn as in kernel space."""
        shape = weight_shape(self.layout, self.map_size, self.damping)
        weight = first_weight(shape, start, dtype=computing_dtype(base), device=base.device)
        blocks, sizes = self.layout.to_blocks(base).double(), (self.layout.slice_size, self.map_size)
        moved = refocused_blocks(weight.double(), blocks, *sizes, **self.shape)
        if self.zeros == "keep":
            moved = moved * (blocks != 0)
        return self.layout.from_blocks(moved).to(base.dtype)

    def refocus_weight(self, kernel: Tensor, base: Tensor) -> Tensor:
        """Return the smallest refocus weight that makes ``kernel`` out of ``base``; see :func:`weight_shape`."""
        blocks, sizes = self.layout.to_blocks(base).double(), (self.layout.slice_size, self.map_size)
        moved = self.layout.to_blocks(kernel).double() - blocks
        mask = blocks != 0 if self.zeros == "keep" else None
        weight = smallest_refocus_weight(moved, blocks, *sizes, mask=mask, **self.shape)
        return weight.to(computing_dtype(base))


class KernelGroup(dict[str, Any]):
    """A parameter group of refocused kernels, which only :class:`refconv.RefocusSGD` takes.

    Other optimizers would train the kernels plainly, so the one method by which they complete a group refuses.
    ZeroRedundancyOptimizer hands each process copies of the groups with a part of their parameters.
    """

    kernels: tuple[Tensor, ...] = ()  # that the geometries describe, in their order
    waiting: Mapping[Tensor, KernelSpec] = MappingProxyType({})  # kernels that are frozen as yet
    masks: Mapping[Tensor, Tensor] = MappingProxyType({})  # that a user gave, of kernels
    split = False  # whether copies of the group may hold a part of them only, in another order

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Refuse to be completed by any optimizer but ZeroRedundancyOptimizer."""
        caller = sys._getframe(1).f_locals.get("self")
        if type(caller).__name__ == "ZeroRedundancyOptimizer":
            self.split = True
            return super().setdefault(key, default)
        what = "these parameter groups train in gradient space, which this optimizer does not know"
        remedy = "for optimizers that are not SGD use kernel space: refconv.refocus(model), then model.parameters()"
        raise SettingError(what, where="param_groups", expected="refconv.RefocusSGD", remedy=remedy)


def param_groups(
    model: nn.Module,
    weight_decay: float = 0.0,
    *,
    config: RefocusConfig | None = None,
    groups: Iterable[Any] | None = None,
    decay: Decay = "refocus",
    mask: Masks | None = None,
    **settings: Unpack[RefocusSettings],
) -> list[dict[str, Any]]:
    """Return a model's trainable parameters in groups for :class:`refconv.RefocusSGD`.

    Refocused kernels come in groups of their own; of the other parameters, biases, vectors and what the model's
    ``no_weight_decay()`` names are not decayed, as timm has it. Without a mask the model is not touched. It may be
    wrapped by DDP, sharded by FSDP2 or compiled already.

    Frozen kernels (``requires_grad`` False) stay as they are. The optimizer knows them, and refocuses them once they
    are trainable and ``optimizer.add_param_group`` brings them, as in gradual unfreezing.

    Args:
        model: any module with convolutions.
        weight_decay: of the kernels, refocused or not.
        config: all settings of refocusing.
        groups: existing parameter groups, or parameters, with their names or without, as torch's optimizers take
            them; refocused kernels move into groups with the same options. ``weight_decay`` must then be left alone.
        decay: where weight decay pulls refocused kernels: ``refocus``, towards the base, as decay of the refocus
            weight does; ``kernel``, towards zero, as in plain training; ``none``, nowhere.
        mask: boolean tensors by the names of layers, in the shapes of their kernels. Entries outside are set to zero,
            now, and stay so, as with ``zeros="keep"``, which a mask implies. The first step sets them to zero again,
            for weights that were loaded since.
        **settings: single settings in place of ``config``: the fields of :class:`refconv.RefocusConfig`. The start
            ``kaiming`` changes the kernels when the optimizer is made.

    Raises:
        SettingError: if a setting is unknown or out of its range, a pattern matches nothing, or ``weight_decay`` is no
            number.
        LayerError: if a kernel cannot be a base, is refocused in kernel space, or shared with one that is not chosen.
        ModelError: if nothing can be refocused, or the model is wrapped by FSDP1.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
        >>> for group in param_groups(model, weight_decay=1e-4):
        ...     print(group["weight_decay"], [tuple(p.shape) for p in group["params"]], len(group.get("sites", ())))
        0.0 [(8,), (4,)] 0
        0.0001 [(4, 8, 1, 1)] 0
        0.0001 [(8, 3, 3, 3)] 1
    """
    config = RefocusConfig.of(config, settings)
    config = config if mask is None else dataclasses.replace(config, zeros="keep")
    if decay not in get_args(Decay):
        raise SettingError("unknown decay", where="decay", expected=" or ".join(get_args(Decay)), found=repr(decay))
    given: Any = weight_decay
    if not isinstance(given, (int, float)):
        remedy = "give a configuration as config=" if isinstance(given, TransformConfig) else None
        about = {"expected": "a number", "found": type(given).__name__, "remedy": remedy}
        raise SettingError("not a number", where="weight_decay", **about)
    plain = _unwrapped(model)
    choices = select_trained(find_layers(plain), config.include, config.exclude, one_tap=config.one_tap)
    chosen = admitted(plain, choices, later=any(one.requires_grad for one in plain.parameters()))
    geometries: dict[int, KernelSpec] = {}
    for layer in chosen:
        geometries.setdefault(id(layer.weight), KernelSpec.of(layer, config))
    waiting = {
        choice.layer.weight: KernelSpec.of(choice.layer, config)
        for choice in choices
        if choice.skipped == FROZEN and choice.layer.weight is not None
    }
    if groups is None:
        groups = _decayed_or_not(plain, weight_decay)
    elif weight_decay:
        raise SettingError("has no effect beside groups, which say it themselves", where="weight_decay")
    listed = list(groups)
    if listed and not isinstance(listed[0], Mapping):
        listed = [{"params": listed}]
    split = [part for group in listed for part in _split(group, geometries, start=config.start, decay=decay)]
    pairs = matched(mask, chosen)
    if waiting and not chosen:
        kernels = "kernel is" if len(waiting) == 1 else f"{len(waiting)} kernels are"
        text = f"the {kernels} frozen: refocused once trainable and in a group of optimizer.add_param_group"
        warnings.warn(f"{type(plain).__name__}: {text}", RefconvWarning, stacklevel=2)
        split.append(KernelGroup({"params": [], SITES: [], "start": config.start, "decay": decay}))
    found = next((group for group in split if isinstance(group, KernelGroup)), None)
    if found is None:
        what, expected = "nothing to refocus: no chosen kernel is in the groups", "kernels among the parameters"
        raise ModelError(what, where=type(plain).__name__, expected=expected)
    found.waiting = waiting
    apply_masks(pairs)
    found.masks = {layer.weight: layer.weight.detach() != 0 for layer, _ in pairs if layer.weight is not None}
    return split


def _decayed_or_not(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    listed = getattr(model, "no_weight_decay", None)
    exempt = set(listed()) if callable(listed) else set()
    found: tuple[list[Tensor], list[Tensor]] = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(".bias") and name not in exempt
            found[decays].append(parameter)
    return [{"params": found[0], "weight_decay": 0.0}, {"params": found[1], "weight_decay": weight_decay}]


def _split(
    group: Mapping[str, Any], geometries: Mapping[int, KernelSpec], *, start: Start, decay: Decay
) -> list[dict[str, Any]]:
    """Return what remains of a group, and its refocused kernels with the same options; neither if it is empty."""
    entries = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
    if "param_names" in group:  # of groups that an optimizer has taken apart already
        entries = list(zip(group["param_names"], entries, strict=True))
        group = {key: value for key, value in group.items() if key != "param_names"}
    refocused: list[Any] = []  # entries may be pairs of a name and a parameter
    others: list[Any] = []
    for entry in entries:
        parameter = entry[1] if isinstance(entry, tuple) else entry
        (refocused if id(parameter) in geometries and parameter.requires_grad else others).append(entry)
    parts: list[dict[str, Any]] = [{**group, "params": others}] if others else []
    if refocused:
        options = {**group, "weight_decay": 0.0} if decay == "none" else dict(group)
        kernels = tuple(entry[1] if isinstance(entry, tuple) else entry for entry in refocused)
        layers = [geometries[id(kernel)].to_dict() for kernel in kernels]
        own = KernelGroup({**options, "params": refocused, SITES: layers, "start": start, "decay": decay})
        own.kernels = kernels
        parts.append(own)
    return parts


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of wrappers that leave its parameters as they are."""
    if not isinstance(model, nn.Module):
        raise ModelError("cannot refocus this", expected="a torch.nn.Module", found=type(model).__name__)
    while type(model).__name__ in _TRANSPARENT:
        model = getattr(model, _TRANSPARENT[type(model).__name__])
    for module in model.modules():
        if (kind := type(module).__name__) == "FullyShardedDataParallel":
            remedy = "shard with FSDP2, torch.distributed.fsdp.fully_shard"
            raise ModelError("the parameters are flattened by FSDP1", where=kind, remedy=remedy)
    return model


def plain_name(name: str) -> str:
    """Return a module's name without the wrappers around it or its parents."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def described(group: dict[str, Any], kernels: Sequence[Tensor]) -> dict[Tensor, KernelSpec]:
    """Return the geometry of each kernel that a group holds, of the parameters that its layers describe."""
    geometries = [None if layer is None else KernelSpec.from_dict(layer) for layer in group[SITES]]
    shapes = [tuple(kernel.shape) for kernel in kernels]
    expected = [
        shape if geometry is None else geometry.layout.weight_shape
        for geometry, shape in zip(geometries, shapes, strict=False)
    ]
    if len(geometries) != len(shapes) or shapes != expected:
        what, remedy = "the layers of a group do not describe its parameters", _AGAIN
        raise SettingError(what, where="RefocusSGD", expected=str(expected), found=str(shapes), remedy=remedy)
    held = {id(parameter) for parameter in group["params"]}
    pairs = zip(kernels, geometries, strict=True)
    return {kernel: geometry for kernel, geometry in pairs if geometry is not None and id(kernel) in held}


def replaced(known: Sequence[Sequence[Tensor]], groups: Sequence[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that were exchanged inside of an optimizer's groups, each with that in its position."""
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
            what = "the parameters of a group were replaced by others of other shapes"
            where = f"parameter group {number} of RefocusSGD"
            raise SettingError(what, where=where, expected=str(shapes), found=str(found), remedy=_AGAIN)
        pairs += [(old, new) for old, new in zip(before, after, strict=True) if old is not new]
    return pairs


def check_same_layers(ours: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    """Refuse a saved state of other layers or settings, saying where they differ first."""

    def refuse(what: str, where: str, expected: object, found: object) -> None:
        raise CheckpointError(what, where=where, expected=str(expected), found=str(found))

    if len(ours) != len(saved):
        what = "the state is of an optimizer with other parameter groups"
        refuse(what, "RefocusSGD", f"{len(ours)} groups", len(saved))
    for number, (group, other) in enumerate(zip(ours, saved, strict=True)):
        where = f"parameter group {number}"
        if (SITES in group) != (SITES in other):
            what = f"the state is {'not ' if SITES in group else ''}of gradient space"
            raise CheckpointError(what, where=where, remedy="load it into an optimizer made as the saved one was")
        layers, others = ([one for one in listed.get(SITES, ()) if one is not None] for listed in (group, other))
        if len(layers) != len(others):
            names, found = ({plain_name(layer["site"]) for layer in listed} for listed in (layers, others))
            differing = f"{len(others)}; only in one of both: {', '.join(sorted(names ^ found)[:5])}"
            refuse("the state belongs to other layers", where, f"{len(layers)} kernels", differing)
        for one, saved_layer in zip(layers, others, strict=True):
            layer, before = ({**it, "site": plain_name(it["site"])} for it in (one, with_scale(saved_layer)))
            keys = [key for key in {**layer, **before} if layer.get(key) != before.get(key)]
            if layer != before:
                expected, had = (", ".join(str(side.get(key)) for key in keys) for side in (layer, before))
                refuse(f"the state differs in {', '.join(keys)}", KernelSpec.from_dict(layer).label, expected, had)
        if group.get("decay") != other.get("decay"):
            refuse("the state differs in decay", where, group.get("decay"), other.get("decay"))
