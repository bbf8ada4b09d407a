"""One trial: what the whole life of a refocused model does to one architecture.

Build it, refocus it, randomise the refocus weights, train one step, merge, load the result strictly into a fresh plain
model of the same factory, and compare what the two compute.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import torch
from torch import Tensor, nn

import refconv
from architectures.inputs import Batch, batches, outputs, training_loss
from architectures.names import Name, build, family
from refconv.layers import find_layers
from refconv.records import Record

_OPT_IN = ("condconv", "deformable")
_SPREAD = 0.2  # random refocus weights change each kernel by some ten per cent
_STEP = 0.01  # and the training step moves each parameter by one per cent of its norm at most


@dataclass(frozen=True)
class Structure(Record):
    """What the plan says of one architecture; needs shapes only.

    Attributes:
        parameters: of the plain model.
        extra_parameters: refocus weights of the default plan.
        kernels: number of kernels with more than one tap by kind, such as ``depthwise`` or ``dense transposed``.
        refocused: how many of them the default plan refocuses.
        skipped: number of kernels that it skips, by reason.
    """

    library: str
    name: str
    family: str
    parameters: int
    extra_parameters: int
    kernels: dict[str, int]
    refocused: int
    skipped: dict[str, int]

    @property
    def several_taps(self) -> int:
        """Kernels with more than one tap."""
        return sum(self.kernels.values())


@dataclass(frozen=True)
class Trial(Record):
    """What one trial measured.

    Attributes:
        input: shape of the first input.
        refocused: number of refocused kernels.
        on_request: opt-in families that the trial included.
        extra_parameters: refocus weights.
        zero_kernels: kernels that the factory fills with zeros; :func:`wake` gives them values.
        same_start: the refocused model's outputs equal the plain model's bit for bit at the start.
        moved: refocus weights (one a kernel) that got a gradient in the training step.
        felt: outputs changed by random refocus weights and training, so equality at the end says something.
        same_structure: same keys in the same order, shapes, dtypes, flags and classes as the fresh plain model.
        identical: outputs of the refocused model and the fresh plain model are equal bit for bit.
        difference: their largest difference, relative to the largest output.
        values: how many numbers were compared.
        seconds: duration.
    """

    library: str
    name: str
    input: tuple[int, ...]
    refocused: int
    on_request: tuple[str, ...]
    extra_parameters: int
    zero_kernels: int
    same_start: bool
    moved: int
    felt: bool
    same_structure: bool
    identical: bool
    difference: float
    values: int
    seconds: float


def structure(name: Name) -> Structure:
    """Plan one architecture on the meta device, or on the CPU if its constructor reads values of tensors."""
    try:
        with torch.device("meta"):
            model = build(name)
    except NotImplementedError:  # torchvision's regnets compute their widths with tensors
        model = build(name)
    plan = refconv.plan(model)
    several = [row for row in plan.rows if row.kind != "pointwise"]
    return Structure(
        library=name.library,
        name=name.name,
        family=family(name),
        parameters=plan.parameters,
        extra_parameters=plan.extra_parameters,
        kernels=dict(Counter(row.kind if row.family == "conv" else f"{row.kind} {row.family}" for row in several)),
        refocused=len(plan.refocused),
        skipped=dict(Counter(str(row.skipped) for row in plan.skipped)),
    )


def trial(name: Name, seed: int = 0) -> Trial:
    """Do everything to one architecture; see :class:`Trial`."""
    started = time.perf_counter()
    torch.manual_seed(seed)
    model = build(name)
    zero_kernels = wake(model)
    batch = _first_batch(name, model)
    plain = outputs(model, batch)
    families = tuple(word for word in _OPT_IN if any(layer.family == word for layer in find_layers(model)))
    done = refconv.refocus(model, include=_everything(model) if families else None)
    same_start = identical(plain, outputs(model, batch))
    randomise(model)
    moved = train_one_step(model, batch)
    refocused = outputs(model, batch)
    refconv.merge(model)
    fresh = build(name)
    fresh.load_state_dict(model.state_dict())
    certificate = refconv.verify(model, fresh)
    merged = outputs(fresh, batch)
    return Trial(
        library=name.library,
        name=name.name,
        input=tuple(batch.shape),
        refocused=len(done.refocused),
        on_request=families,
        extra_parameters=done.extra_parameters,
        zero_kernels=zero_kernels,
        same_start=same_start,
        moved=moved,
        felt=not identical(plain, refocused),
        same_structure=certificate.same_structure,
        identical=identical(refocused, merged),
        difference=relative_difference(refocused, merged),
        values=sum(value.numel() for value in merged),
        seconds=round(time.perf_counter() - started, 1),
    )


def wake(model: nn.Module) -> int:
    """Give values to all parameters that are a constant near zero, so that every kernel reaches the output.

    Factories start layer scales, last norms of a branch, skip gains and some heads there; what comes before them would
    not be felt at the output, and everything would equal everything.

    Returns:
        The number of convolution kernels among them.
    """
    kernels = {id(layer.weight) for layer in find_layers(model) if layer.kind != "pointwise"}
    count = 0
    with torch.no_grad():
        for parameter in model.parameters():
            first = parameter.flatten()[0]
            if abs(first) < 0.1 and bool((parameter == first).all()):
                count += id(parameter) in kernels
                parameter.uniform_(0.05, 0.15)
    return count


def randomise(model: nn.Module) -> None:
    """Give every refocus weight random values that change its kernel by some ten per cent."""
    with torch.no_grad():
        for weight in _refocus_weights(model):
            bound = _SPREAD / sqrt(weight.shape[-1])
            weight.uniform_(-bound, bound)


def train_one_step(model: nn.Module, batch: Batch) -> int:
    """Take one step of gradient descent in training mode.

    Every parameter moves against its gradient by at most one per cent of its norm, so that no architecture runs away,
    and it moves as soon as its gradient is there, so that the gradients are never all in memory.

    Returns:
        The number of refocus weights with a gradient other than zero.

    Raises:
        ArithmeticError: if the loss or a gradient is not finite.
    """
    refocus_weights = {id(weight) for weight in _refocus_weights(model)}
    moved = 0

    def descend(parameter: Tensor) -> None:
        nonlocal moved
        gradient = parameter.grad
        assert gradient is not None
        norm = float(gradient.norm())
        if not isfinite(norm):
            raise ArithmeticError("a gradient is not finite")
        if norm:
            moved += id(parameter) in refocus_weights
            with torch.no_grad():
                parameter.sub_(gradient, alpha=min(1.0, _STEP * float(parameter.norm()) / norm))
        parameter.grad = None

    hooks = [p.register_post_accumulate_grad_hook(descend) for p in model.parameters() if p.requires_grad]
    loss = training_loss(model, batch)
    if not bool(loss.isfinite()):
        raise ArithmeticError("the loss is not finite")
    loss.backward()
    for hook in hooks:
        hook.remove()
    return moved


def identical(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether all tensors are equal bit for bit."""
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def relative_difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the largest difference over all tensors, over the largest entry; infinite if shapes differ."""
    if [value.shape for value in first] != [value.shape for value in second]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(first, second, strict=True) if a.numel()]
    difference = max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
    return difference / max((float(a.abs().max()) for a, _ in pairs), default=1.0) if difference else 0.0


def _first_batch(name: Name, model: nn.Module) -> Batch:
    """Return the smallest batch on which a model trains and evaluates to finite numbers.

    Raises:
        ArithmeticError: if there is none.
    """
    reason: Exception | None = None
    for batch in batches(name, model):
        try:
            with torch.no_grad():
                values = [training_loss(model, batch), *outputs(model, batch)]
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:  # too small, in each library's words
            reason = error
            continue
        if all(bool(value.isfinite().all()) for value in values) and sum(value.numel() for value in values) > 1:
            return batch
    raise ArithmeticError("no input gives finite outputs") from reason


def _everything(model: nn.Module) -> list[str]:
    """The words that select every kernel with more than one tap, those of the opt-in families included."""
    layers = [layer for layer in find_layers(model) if layer.kind != "pointwise"]
    return sorted({layer.family if layer.family in _OPT_IN else layer.kind for layer in layers})


def _refocus_weights(model: nn.Module) -> list[nn.Parameter]:
    return [weight for name, weight in model.named_parameters() if name.endswith("refocus_weight")]
