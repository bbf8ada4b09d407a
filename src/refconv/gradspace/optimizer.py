"""RefocusSGD: torch's SGD on the plain kernels, with gradients as refocusing has them.

By formula (2) of docs/math.md, a step of SGD on the refocus weight moves the kernel exactly as the same step on the
kernel itself with g -> g G + w (kernel - B) in place of g + w kernel. Nothing else differs, so nothing else is here:
momentum, dampening, Nesterov, maximize, foreach and fused are torch's; dense kernels on a CPU have a loop of their own
for all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.optim import SGD

from refconv.config import Start
from refconv.errors import LayerError, SettingError, did_you_mean
from refconv.fused.tables import Tables
from refconv.gradspace.batching import products, rewritten
from refconv.gradspace.groups import (
    SITES,
    Decay,
    KernelGroup,
    KernelSpec,
    check_same_layers,
    described,
    plain_name,
    replaced,
)
from refconv.gradspace.keeping import Bases, check_bases, kept
from refconv.gradspace.metric import (
    ByPatches,
    BySlices,
    Metric,
    clip_by_norm,
    from_local,
    gathered,
    is_sharded,
    local,
    sharded_like,
)
from refconv.gradspace.numbers_of_sgd import check_numbers, number_of
from refconv.gradspace.slices_step import stepped
from refconv.layers import check_base, masked

BASE = "base"  #: The key of a base in the state of its parameter


class RefocusSGD(SGD):
    """Stochastic gradient descent that trains plain kernels as if their refocus weights were trained.

    The base of a kernel is what it is when the first step is taken, so weights may still be loaded after the optimizer
    was made. Bases are part of the state dict, and a resumed run continues exactly; Grams are recomputed from them.

    Note [Decay]: the parent adds w kernel to the gradient, so w B is taken off here, which makes w (kernel - B).

    Note [Gradients]: ``.grad`` is left as the backward pass made it: the gradient by the plain kernel. Clip with
    ``max_norm`` or :meth:`clip_grad_norm_`, which measure it as the gradient by the refocus weight, as kernel space
    would. ``torch.nn.utils.clip_grad_norm_``, which trainers call, measures the plain gradient, another number: tell
    them not to clip.

    Note [Mixed groups]: groups of :func:`refconv.param_groups` hold refocused kernels only. A group that a program adds
    later may hold other parameters beside them and stays one group, since the program may count on that.

    Note [Replaced parameters]: libraries that shard or move models exchange the parameters inside of
    ``param_groups``. Sites, bases and momentum follow by position.

    Args:
        params: what :func:`refconv.param_groups` returned, perhaps among other groups.
        lr, momentum, dampening, nesterov, maximize, foreach, fused: as in torch's SGD.
        weight_decay: for groups that do not say their own, as those that :func:`refconv.param_groups` makes itself do.
        max_norm: clip all gradients together to this norm before each step, by :meth:`clip_grad_norm_`; None does not.
        bases: where the bases of dense kernels are kept, which a step reads once: ``device``, beside the kernels;
            ``cpu``, in the memory of the host; ``disk``, in files without names in the folder of temporary files
            (``TMPDIR``), mapped into memory. States hold them as ever.

    Raises:
        SettingError: if a number is none that SGD can have, no group holds refocused kernels, layers and parameters do
            not fit together, ``max_norm`` is not positive, ``bases`` is no place on this system, every group says
            another weight decay, or a random start or ``max_norm`` meets a part of the kernels only
            (ZeroRedundancyOptimizer).

    Example:
        >>> import refconv
        >>> model = torch.nn.Conv2d(4, 4, 3, groups=4)
        >>> optimizer = refconv.RefocusSGD(refconv.param_groups(model), lr=0.1, momentum=0.9)
        >>> model(torch.randn(2, 4, 8, 8)).square().mean().backward()
        >>> optimizer.step()
        >>> optimizer.refocus_weight("").shape
        torch.Size([1, 4, 36])
    """

    # Compilers would bake the gradients that _init_group computes into their graph; the step runs as it is.
    step = torch.compiler.disable(SGD.step)

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        max_norm: float | None = None,
        bases: Bases = "device",
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        self._geometries: dict[Tensor, KernelSpec] = {}
        self._waiting: dict[Tensor, tuple[KernelSpec, Start, Decay]] = {}
        self._masks: dict[Tensor, Tensor] = {}
        self._metrics: dict[Tensor, Metric] = {}
        self._started: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self._known: list[list[Tensor]] = []
        self._tables: dict[Any, Tables] = defaultdict(Tables)  # of each group, and of the norm
        if max_norm is not None and not number_of(max_norm) > 0:
            raise SettingError("invalid norm", where="max_norm", expected="a number > 0, or None", found=repr(max_norm))
        check_bases(bases)
        check_numbers({"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay})
        if nesterov and not (momentum > 0 and dampening == 0):
            found = f"momentum {momentum}, dampening {dampening}"
            raise SettingError("not possible", where="nesterov", expected="momentum > 0, dampening 0", found=found)
        self.max_norm, self.bases = max_norm, bases
        groups = list(params)
        if not any(isinstance(group, dict) and SITES in group for group in groups):
            what, remedy = "there are no refocused kernels among the parameters", "torch.optim.SGD trains plainly"
            expected = "the groups that refconv.param_groups(model) returns"
            raise SettingError(what, where="RefocusSGD", expected=expected, remedy=remedy)
        # ZeroRedundancyOptimizer writes the one it was given into every group, and hands it on too.
        if weight_decay and all(group.get("weight_decay", weight_decay) != weight_decay for group in groups):
            what, remedy = (
                "has no effect, since every group says its own",
                f"param_groups(model, weight_decay={weight_decay})",
            )
            raise SettingError(what, where="weight_decay", remedy=remedy)
        ways: dict[str, Any] = {"maximize": maximize, "foreach": foreach, "fused": fused}
        super().__init__(groups, lr, momentum, dampening, weight_decay, nesterov, **ways)
        # Gradients must be unscaled before they are rewritten, since decay towards the base is not scaled.
        self._step_supports_amp_scaling = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose layers and parameters must fit; kernels that are to start at random are changed now.

        Of a group without layers, the kernels are refocused that were frozen when :func:`refconv.param_groups` was
        called, by its settings: programs unfreeze a part of a network, and add its parameters as one group.

        Raises:
            LayerError: if such a kernel cannot be a base.
            SettingError: if a setting of the group is not possible.
        """
        group = dict(param_group)
        check_numbers(group)
        super().add_param_group(group)
        if isinstance(param_group, KernelGroup):
            self._masks.update(param_group.masks)
            self._waiting.update((one, (of, group["start"], group["decay"])) for one, of in param_group.waiting.items())
        elif any(parameter in self._waiting for parameter in group["params"]):
            self._describe(group)
        self._known.append(list(group["params"]))
        if SITES not in group:
            return
        split = param_group if isinstance(param_group, KernelGroup) and param_group.split else None
        self._geometries.update(described(group, split.kernels if split else group["params"]))
        if len(group["params"]) < len(group[SITES]) and (self.max_norm is not None or group["start"] != "zeros"):
            what = "has no meaning where this process holds a part of the kernels only"
            remedy = "start='zeros', no max_norm, or an optimizer that is not split among processes"
            raise SettingError(what, where="start" if self.max_norm is None else "max_norm", remedy=remedy)
        if group.get("start") == "kaiming":
            for parameter in group["params"]:
                if parameter in self._geometries:
                    self._start(parameter)

    def _describe(self, group: dict[str, Any]) -> None:
        """Give the last group the layers of those of its parameters that have been waiting; or take it off again."""
        found = [self._waiting.get(parameter) for parameter in group["params"]]
        for parameter, one in zip(group["params"], found, strict=True):
            if one is None:
                continue
            try:
                check_base(parameter, one[0].layer, one[0].label)
            except LayerError:
                self.param_groups.pop()
                raise
            group.update(start=one[1], decay=one[2])
        group[SITES] = [None if one is None else one[0].to_dict() for one in found]
        for parameter in group["params"]:
            self._waiting.pop(parameter, None)

    def _associate(self) -> None:
        """Let what is known of parameters follow to those that have replaced them in the groups.

        Groups of another number were put in the place of all groups before, as Lightning does when it resumes.
        """
        if len(self._known) != len(self.param_groups):
            own = [group for group in self.param_groups if SITES in group]
            self._geometries = {key: of for group in own for key, of in described(group, group["params"]).items()}
            self._known = [list(group["params"]) for group in self.param_groups]
            for parameter in self._geometries:
                self._waiting.pop(parameter, None)
            return
        pairs = replaced(self._known, self.param_groups)
        if not pairs:
            return
        self._known = [list(group["params"]) for group in self.param_groups]
        for old, new in pairs:
            self._metrics.pop(old, None)
            if old in self.state:
                state = {key: _cut_as(new, value) for key, value in self.state.pop(old).items()}
                self.state[new] = {**state, **self.state.get(new, {})}
            if old in self._started:
                base, started = self._started.pop(old)
                self._started[new] = _cut_as(new, base), _cut_as(new, started)
            if old in self._masks:
                self._masks[new] = _cut_as(new, self._masks.pop(old))
        successors = dict(pairs)
        self._geometries = {successors.get(kernel, kernel): layer for kernel, layer in self._geometries.items()}

    @torch.no_grad()
    def _start(self, parameter: Tensor) -> None:
        base = parameter.detach().clone()
        kernel = self._geometries[parameter].started(gathered(base), "kaiming")
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and not is_sharded(parameter):
            torch.distributed.broadcast(kernel, 0)  # every process drew numbers of its own
        parameter.copy_(sharded_like(kernel, parameter))
        self._started[parameter] = base, parameter.detach().clone()

    def _init_group(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], momentum_buffer_list: list[Any]
    ) -> bool:
        """Collect what the parent collects, and rewrite the gradients of refocused kernels."""
        if group is self.param_groups[0]:  # a closure has run, and no parameter has moved yet
            self._associate()
            if self.max_norm is not None:
                self.clip_grad_norm_(self.max_norm)
        sparse: bool = super()._init_group(group, params, grads, momentum_buffer_list)
        if SITES in group and params:
            with torch.no_grad(), torch.autocast(params[0].device.type, enabled=False):
                done = {at for at, one in enumerate(params) if one in self._geometries and self._stepped(one, group)}
                for listed in (params, grads, momentum_buffer_list):
                    listed[:] = [one for at, one in enumerate(listed) if at not in done]
                chosen = [position for position, parameter in enumerate(params) if parameter in self._geometries]
                found = self._rewritten([params[one] for one in chosen], [grads[one] for one in chosen], group)
                for position, gradient in zip(chosen, found, strict=True):
                    grads[position] = gradient
        return sparse

    def _stepped(self, parameter: Tensor, group: dict[str, Any]) -> bool:
        """Take the whole step of a kernel where there is a loop for it; return whether it was taken."""
        return stepped(parameter, self.state[parameter], self._metric(parameter), group, BASE)

    def _rewritten(self, kernels: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Return what the parent is to take for gradients: g G, less what its weight decay adds too much."""
        metrics = [self._metric(kernel) for kernel in kernels]
        toward_base = group["decay"] == "refocus"
        centers = [local(self.state[one][BASE] if toward_base else one).to(one.device) for one in kernels]
        # maximize turns the sign of gradients, but not of decay
        factor = group["weight_decay"] * (1 if group["maximize"] else -1) if group["decay"] != "kernel" else 0.0
        found = rewritten(metrics, [local(one) for one in gradients], centers, factor, self._tables[id(group)])
        return [from_local(part, gradient) for part, gradient in zip(found, gradients, strict=True)]

    def _metric(self, parameter: Tensor) -> Metric:
        metric, base = self._metrics.get(parameter), self._base(parameter)
        if parameter.shape != base.shape:
            self._refuse_shape(parameter, base)
        if metric is None or metric.device != parameter.device:  # where the model has moved since
            geometry = self._geometries[parameter]
            base = base.to(parameter.device)
            metric = self._metrics[parameter] = Metric.of(geometry, base)
            if self.bases != "device" and isinstance(metric, (BySlices, ByPatches)):
                metric.base = base = kept(base, self.bases, geometry.label)
            self.state[parameter][BASE] = base
        return metric

    def _refuse_shape(self, parameter: Tensor, base: Tensor) -> NoReturn:
        what, remedy = "the kernel has another shape than its base", "make a new optimizer after changes of a model"
        where, expected, found = self._geometries[parameter].label, *(str(list(one.shape)) for one in (base, parameter))
        raise LayerError(what, where=f"{where}, a kernel of RefocusSGD", expected=expected, found=found, remedy=remedy)

    def _base(self, parameter: Tensor) -> Tensor:
        """Return the base of a kernel; if it has none yet, it becomes one."""
        state = self.state[parameter]
        if BASE not in state:
            state[BASE] = self._base_so_far(parameter).clone()
            self._mask(parameter)
            self._started.pop(parameter, None)
        base: Tensor = state[BASE]
        return base

    def _base_so_far(self, parameter: Tensor) -> Tensor:
        """Return the base of a kernel, or what would become it now; looking decides nothing."""
        if BASE in (state := self.state.get(parameter, {})):
            return cast("Tensor", state[BASE])
        start = self._started[parameter][0] if parameter in self._started else parameter.detach()
        return self._masked(parameter, start)

    def _masked(self, parameter: Tensor, value: Tensor) -> Tensor:
        """Return a value of a kernel under the mask that a user gave for it, if any."""
        if parameter not in self._masks:
            return value
        mask = local(self._masks[parameter]).to(value.device)
        return from_local(masked(local(value), mask), value)

    @torch.no_grad()
    def _mask(self, parameter: Tensor) -> None:
        """Apply the mask that a user gave for a kernel: weights may have been loaded since it was applied first."""
        if parameter in self._masks:
            parameter.copy_(self._masked(parameter, parameter.detach()))

    @torch.no_grad()
    def clip_grad_norm_(self, max_norm: float, *, error_if_nonfinite: bool = False) -> Tensor:
        """Scale all gradients so that their norm, as kernel space would measure it, is at most ``max_norm``.

        For refocused kernels that is the norm of the gradient by the refocus weight, sqrt(<g, g G>). Returns the norm
        before scaling.

        Raises:
            RuntimeError: if the norm is not finite and ``error_if_nonfinite`` is set.
        """
        self._associate()
        parameters = (one for group in self.param_groups for one in group["params"] if one.grad is not None)
        pairs = [(one, self._metric(one) if one in self._geometries else None) for one in parameters]
        multiply = partial(products, tables=self._tables["norm"])
        return clip_by_norm(pairs, max_norm, multiply, error_if_nonfinite=error_if_nonfinite)

    def clip_grad_value_(self, clip_value: float) -> None:
        """Raise a SettingError: the entries of the refocus weight's gradient, which would be clipped, do not exist."""
        what = "clipping entry by entry has no counterpart in gradient space"
        remedy = "clip_grad_norm_, or kernel space: refconv.refocus(model)"
        raise SettingError(what, where="clip_grad_value_", remedy=remedy)

    @torch.no_grad()
    def rebase(self) -> None:
        """Start a new round: every refocused kernel as it is now becomes its own base, as if merged and refocused anew.

        Their momentum, which belongs to the former refocus weights, starts anew; no random start is applied again.
        """
        self._associate()
        self._metrics.clear()
        self._started.clear()
        for parameter in self._geometries:
            self._mask(parameter)
            self.state[parameter] = {BASE: parameter.detach().clone()}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the refocused layers, in order."""
        return tuple(geometry.layer for geometry in self._geometries.values())

    def base(self, layer: str | Tensor) -> Tensor:
        """Return a copy of the base of a layer (its name or parameter), whole and in its stored shape.

        Raises:
            SettingError: if it is not refocused by this optimizer, or several layers have this name.
        """
        parameter, _ = self._found(layer)
        return gathered(self._base_so_far(parameter)).clone().to(parameter.device)

    @torch.no_grad()
    def refocus_weight(self, layer: str | Tensor) -> Tensor:
        """Return the smallest refocus weight R [b, m, m * t] that makes a layer's kernel out of its base.

        After training from the zero start it is the one that kernel space would hold.

        Raises:
            SettingError: if it is not refocused by this optimizer, or several layers have this name.
        """
        parameter, geometry = self._found(layer)
        return geometry.refocus_weight(gathered(parameter.detach()), self.base(parameter))

    def _found(self, layer: str | Tensor) -> tuple[Tensor, KernelSpec]:
        self._associate()
        given: Any = layer
        if not isinstance(given, (str, Tensor)):
            expected, found = "the name of a layer or its parameter", repr(given)
            raise SettingError("not a layer", where="layer", expected=expected, found=found)
        named = [
            pair
            for pair in self._geometries.items()
            if pair[0] is layer or (isinstance(layer, str) and plain_name(pair[1].layer) == plain_name(layer))
        ]
        if len(named) > 1:
            what, remedy = (
                f"{layer!r} is the name of {len(named)} layers",
                "give the parameter of the one that is meant",
            )
            raise SettingError(what, where="layer", remedy=remedy)
        if named:
            return named[0]
        text = layer if isinstance(layer, str) else f"a tensor of shape {list(layer.shape)}"
        remedy = did_you_mean(text, self.layers) or "optimizer.layers lists them"
        raise SettingError(f"{text!r} is not a refocused layer of this optimizer", where="layer", remedy=remedy)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, bases included, as plain values and tensors."""
        self._associate()
        for parameter in list(self._started):
            self._base(parameter)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, bases included; the model's weights may be loaded before or after.

        Raises:
            CheckpointError: if the state is of an optimizer of other layers or settings.
        """
        self._associate()
        check_same_layers(self.param_groups, state_dict["param_groups"])
        # A random start that was applied on weights which had been loaded before is taken back.
        for parameter, (base, started) in self._started.items():
            if torch.equal(local(parameter), local(started)):
                with torch.no_grad():
                    parameter.copy_(base)
        super().load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        self._associate()
        names = ("_geometries", "_waiting", "_masks", "_started", "max_norm", "bases")
        own = {name: getattr(self, name) for name in names}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # also called where a state dict is loaded, after which the same kernels are frozen as before
        own = {name: self.__dict__.get(name, {}) for name in ("_waiting", "_masks")}
        super().__setstate__({**own, "_started": {}, "bases": self.__dict__.get("bases", "device"), **state})
        self._metrics, self._tables = {}, defaultdict(Tables)
        self._known = [list(group["params"]) for group in self.param_groups]
        self._step_supports_amp_scaling = False

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            shown = {key: value for key, value in group.items() if key not in {"params", SITES}}
            kernels = sum(one is not None for one in group.get(SITES, ()))
            shown |= {"refocused": f"{kernels} kernels"} if SITES in group else {}
            lines += [f"Parameter Group {number}", *(f"    {key}: {value}" for key, value in sorted(shown.items()))]
        return "\n".join([*lines, ")"])


def _cut_as(parameter: Tensor, value: Any) -> Any:
    """Return what is kept of a parameter as its replacement keeps it: sharded in the same way."""
    fits = isinstance(value, Tensor) and value.shape == parameter.shape
    return sharded_like(gathered(value), parameter) if fits else value
