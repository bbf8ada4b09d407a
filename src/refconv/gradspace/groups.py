"""Parameter groups for gradient space: refocused kernels apart from what is trained plainly."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from refconv.config import RefocusConfig, RefocusSettings, Start, TransformConfig
from refconv.errors import ModelError, SettingError
from refconv.gradspace.kernel_spec import Decay, KernelSpec, check_decay
from refconv.layers import admitted, find_layers, select_trained
from refconv.parametrizations import TRANSFORMS

if TYPE_CHECKING:
    from typing_extensions import Unpack

SITES = "sites"
"""The key under which a parameter group holds the geometries of its parameters, one each."""

# Wrappers whose parameters are those of the model inside, and the attribute that holds it.
_TRANSPARENT = {"DistributedDataParallel": "module", "DataParallel": "module", "OptimizedModule": "_orig_mod"}


class KernelGroup(dict[str, Any]):
    """A parameter group of refocused kernels, which only :class:`refconv.RefocusSGD` takes.

    Any optimizer of torch would take it for an ordinary group and train the kernels plainly, without a word. So the
    one method by which optimizers complete a group says what is wrong. ZeroRedundancyOptimizer steps nothing itself:
    it hands each process copies of the groups with a part of their parameters, for the optimizer that it was told.

    Attributes:
        kernels: the parameters that the geometries describe, in their order.
        split: whether copies of the group may hold a part of them only, in another order.
    """

    kernels: tuple[Tensor, ...] = ()
    split = False

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Refuse to be completed by an ordinary optimizer.

        Raises:
            SettingError: if anything but ZeroRedundancyOptimizer asks.
        """
        caller = sys._getframe(1).f_locals.get("self")
        if type(caller).__name__ == "ZeroRedundancyOptimizer":
            self.split = True
            return super().setdefault(key, default)
        raise SettingError(
            "these parameter groups train in gradient space, which this optimizer does not know",
            where="param_groups",
            expected="refconv.RefocusSGD",
            remedy="for Adam and other optimizers that are not SGD use kernel space: refconv.refocus(model), "
            "then model.parameters()",
        )


def param_groups(
    model: nn.Module,
    weight_decay: float = 0.0,
    *,
    config: RefocusConfig | None = None,
    groups: Iterable[Any] | None = None,
    decay: Decay = "refocus",
    **settings: Unpack[RefocusSettings],
) -> list[dict[str, Any]]:
    """Return a model's trainable parameters in groups for :class:`refconv.RefocusSGD`.

    Frozen kernels (``requires_grad`` False) stay as they are, as in kernel space.
    Refocused kernels come in groups of their own; of the other parameters, biases, vectors and what the model's
    ``no_weight_decay()`` names are not decayed, as timm has it. The model is not touched. It may be wrapped by DDP,
    sharded by FSDP2 or compiled already.

    Args:
        model: any module with convolutions.
        weight_decay: of the kernels, refocused or not.
        config: all settings of refocusing.
        groups: parameter groups that exist already, say by layer with rates of their own; refocused kernels are
            taken out of them into groups with the same options. As for torch's optimizers, parameters may come with
            their names, and without groups around them. ``weight_decay`` must then be left alone.
        decay: where weight decay pulls refocused kernels: ``refocus``, towards the base, as decay of the refocus
            weight does; ``kernel``, towards zero, as in plain training; ``none``, nowhere.
        **settings: single settings in place of a configuration, by the names of its fields; see
            :class:`refconv.RefocusConfig`. The start ``kaiming`` changes the kernels when the optimizer is made.

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
    check_decay(decay)
    given: Any = weight_decay
    if not isinstance(given, (int, float)):
        remedy = "give a configuration as config=" if isinstance(given, TransformConfig) else None
        raise SettingError(
            "not a number", where="weight_decay", expected="a number", found=type(given).__name__, remedy=remedy
        )
    plain = _unwrapped(model)
    choices = select_trained(find_layers(plain), config.include, config.exclude)
    chosen = admitted(plain, choices, [transform.__name__ for transform in TRANSFORMS.values()])
    geometries: dict[int, KernelSpec] = {}
    for layer in chosen:
        geometries.setdefault(id(layer.weight), KernelSpec.of(layer, config))
    if groups is None:
        groups = _decayed_or_not(plain, weight_decay)
    elif weight_decay:
        raise SettingError("has no effect beside groups, which say it themselves", where="weight_decay")
    listed = list(groups)
    if listed and not isinstance(listed[0], Mapping):
        listed = [{"params": listed}]
    split = [part for group in listed for part in _split(group, geometries, start=config.start, decay=decay)]
    if not any(SITES in group for group in split):
        raise ModelError(
            "nothing to refocus: no chosen kernel is in the groups",
            where=type(plain).__name__,
            expected="kernels among the parameters",
        )
    return split


def _decayed_or_not(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    listed = getattr(model, "no_weight_decay", None)
    exempt = set(listed()) if callable(listed) else set()
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    bare = [p for name, p in trainable if p.ndim <= 1 or name.endswith(".bias") or name in exempt]
    known = {id(parameter) for parameter in bare}
    decayed = [parameter for _, parameter in trainable if id(parameter) not in known]
    return [{"params": bare, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]


def _split(
    group: Mapping[str, Any], geometries: Mapping[int, KernelSpec], *, start: Start, decay: Decay
) -> list[dict[str, Any]]:
    """Return what remains of a group, and its refocused kernels with the same options; neither if it is empty."""
    entries = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
    if "param_names" in group:  # of groups that an optimizer has taken apart already
        entries = list(zip(group["param_names"], entries, strict=True))
        group = {key: value for key, value in group.items() if key != "param_names"}
    refocused = [entry for entry in entries if id(_parameter(entry)) in geometries and _parameter(entry).requires_grad]
    taken = {id(_parameter(entry)) for entry in refocused}
    others = [entry for entry in entries if id(_parameter(entry)) not in taken]
    parts: list[dict[str, Any]] = []
    if others:
        parts.append({**group, "params": others})
    if refocused:
        options = {**group, "weight_decay": 0.0} if decay == "none" else dict(group)
        kernels = tuple(_parameter(entry) for entry in refocused)
        layers = [geometries[id(kernel)].to_dict() for kernel in kernels]
        own = KernelGroup({**options, "params": refocused, SITES: layers, "start": start, "decay": decay})
        own.kernels = kernels
        parts.append(own)
    return parts


def _parameter(entry: Any) -> Tensor:
    """Return the parameter of an entry of a group, which may be a pair of its name and itself."""
    parameter: Tensor = entry[1] if isinstance(entry, tuple) else entry
    return parameter


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of wrappers that leave its parameters as they are.

    Raises:
        ModelError: if it is no module, or a wrapper flattens the parameters.
    """
    if not isinstance(model, nn.Module):
        raise ModelError("cannot refocus this", expected="a torch.nn.Module", found=type(model).__name__)
    while type(model).__name__ in _TRANSPARENT:
        model = getattr(model, _TRANSPARENT[type(model).__name__])
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise ModelError(
                "the parameters are flattened by FSDP1",
                where=type(module).__name__,
                remedy="shard with FSDP2, torch.distributed.fsdp.fully_shard",
            )
    return model
