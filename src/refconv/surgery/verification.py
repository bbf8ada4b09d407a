"""The certificate: what two models have in common, in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils import _pytree as pytree

from refconv.errors import ModelError, RefconvError, lacks_memory, printable
from refconv.layers import dotted, find_layers, lists_of
from refconv.records import Record
from refconv.surgery.outputs import Distance, distance, largest_difference, leaves
from refconv.surgery.places import Beneath, places
from refconv.surgery.refocusing import check_unwrapped, is_compiled, plain_name
from refconv.surgery.state import plain_state_dict

# Outputs count as equal when two thirds of the digits of their dtype agree: 2.4e-5 in float32. Networks whose kernels
# agree differ by rounding alone, which depth amplifies but keeps far below that; trained differences lie far above.
_SHARE_OF_DIGITS = 2 / 3
State = Mapping[str, Any]


@dataclass(frozen=True)
class Certificate(Record, former={"largest_kernel_site": "largest_kernel_layer"}):
    """The result of :func:`verify`; ``print(certificate)`` is the report.

    Differences of entries are written as ``key: before -> after``.

    Attributes:
        missing, surplus: keys of the plain states that only the first model has, or only the second.
        reordered: whether the common keys come in another order.
        shapes, dtypes, flags, classes, values: differing shapes and dtypes of tensors, gradient flags of parameters,
            classes of modules, and entries of the state that are not tensors.
        kernels: number of convolution kernels compared.
        largest_kernel_difference: largest absolute difference over all kernels of equal shape.
        largest_output_difference: largest absolute difference of outputs on the batch; None without a batch, and where
            the outputs hold nothing that can be compared.
        relative_output_difference: the same over the largest absolute entry of that output of the first model; the
            largest over all outputs.
        tolerance: the relative difference up to which outputs count as equal.
        top1_agreement: share of rows whose largest output is at the same place, where outputs are [batch, classes].
        batch: number of rows; None without a batch.
        unlike: outputs whose place, shape, kind or value that is no number differs.
        uncompared: parts of the outputs that could not be looked into.
        not_finite: outputs of the first model or the second that hold infinite entries or some that are no number.
    """

    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    reordered: bool
    shapes: tuple[str, ...]
    dtypes: tuple[str, ...]
    flags: tuple[str, ...]
    classes: tuple[str, ...]
    kernels: int
    largest_kernel_difference: float
    largest_kernel_layer: str
    largest_output_difference: float | None
    relative_output_difference: float | None
    tolerance: float
    top1_agreement: float | None
    batch: int | None
    values: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()

    @property
    def same_structure(self) -> bool:
        """Same keys in the same order, shapes, dtypes, gradient flags, classes and values that are not tensors."""
        changes = (self.missing, self.surplus, self.shapes, self.dtypes, self.flags, self.classes, self.values)
        return not self.reordered and not any(changes)

    @property
    def same_outputs(self) -> bool | None:
        """Whether outputs agree to the tolerance; None if they, or a part of them, were not compared or not finite."""
        if self.relative_output_difference is not None and self.relative_output_difference > self.tolerance:
            return False
        return None if self.relative_output_difference is None or self.uncompared or self.not_finite else True

    def __str__(self) -> str:
        order = "another order" if self.reordered else "same order"
        keys = _list("missing", self.missing) + _list("surplus", self.surplus)
        verdict, kernels = "the same" if self.same_structure else "DIFFERENT", "not compared: there are none"
        if self.kernels:
            at = f" at {printable(self.largest_kernel_layer)}" if self.largest_kernel_difference else ""
            kernels = f"largest difference {self.largest_kernel_difference:.3g}{at}, over {self.kernels} kernels"
        elif keys or self.shapes:
            verdict += ": no convolution kernel has the same key and shape in both"
            kernels = "not compared: none has the same key and shape in both"
        lines = [f"structure  {verdict}", f"  keys     {'; '.join(keys) or 'the same'}, {order}"]
        changes = {word: _list("differ", getattr(self, word)) for word in ("shapes", "dtypes", "flags", "classes")}
        lines += [f"  {word:<8} {'; '.join(entries) or 'the same'}" for word, entries in changes.items()]
        lines += [f"  {'values':<8} {entry}" for entry in _list("differ", self.values)]
        lines += [f"kernels    {kernels}", f"outputs    {self._outputs_in_words()}"]
        lines += [f"  {'unlike':<8} {entry}" for entry in _list("differ", self.unlike)]
        if self.same_outputs is False:
            lines += [f"  {'values':<8} {entry}" for entry in _list("not finite", self.not_finite)]
        if self.top1_agreement is not None:
            lines.append(f"top-1      agrees on {self.top1_agreement:.2%}")
        return "\n".join(lines)

    def _outputs_in_words(self) -> str:
        unseen = "; ".join(_list("parts cannot be looked into", self.uncompared))
        if self.relative_output_difference is None:
            empty = "they are empty, or hold no tensors, numbers or texts"
            return f"not compared ({'no batch given' if self.batch is None else unseen or empty})"
        equal = "identical" if self.largest_output_difference == 0 else "equal"
        verdict = equal if self.same_outputs is not False else "different"
        if self.same_outputs is None and self.not_finite:
            at = "; ".join([*_list("not finite", self.not_finite), *([unseen] if unseen else [])])
            verdict = f"not comparable: outputs are not finite ({at}), finite entries {verdict}"
        elif self.same_outputs is None:
            verdict = f"not certified ({unseen}), the others {verdict}"
        return (
            f"{verdict}: largest difference {self.largest_output_difference:.3g}, relative "
            f"{self.relative_output_difference:.3g} (tolerance {self.tolerance:.2g}), batch of {self.batch}"
        )


def verify(before: nn.Module, after: nn.Module, batch: Any = None, *, tolerance: float | None = None) -> Certificate:
    """Compare two models: structure always, outputs on a batch if one is given. Neither model is changed.

    Either may be refocused; it is then taken as the plain model it merges to. Compare a refocused model with
    its merged copy to certify a merge, and the pretrained model with the final one to certify that only values
    changed. Compiled models are run without their compilation, which rounds differently.

    Args:
        before: the first model.
        after: the second.
        batch: input for both: a tensor or list is the one argument, a tuple positional and a mapping keyword arguments.
        tolerance: relative output difference that counts as equal; by default the machine epsilon of the
            outputs' dtype to the power 2/3.

    Raises:
        ModelError: if a model is wrapped, or cannot be run on the batch.
    """
    for model in (before, after):
        check_unwrapped(model, "verify")
    states = plain_state_dict(before), plain_state_dict(after)
    first, second = ({plain_name(key): value for key, value in state.items()} for state in states)
    common = [key for key in first if key in second]
    tensors = {key for key in common if isinstance(first[key], Tensor) and isinstance(second[key], Tensor)}
    one, other = ({key: state[key] for key in state if key in tensors} for state in (first, second))
    layer, difference, kernels = _kernel_difference(before, one, other)
    apart = {key: distance(first[key], second[key]) for key in common if key not in tensors}
    changed = {key: (f"largest difference {one.difference:.3g}",) for key, one in apart.items() if one.difference}
    unlike = {key: one.unlike or changed.get(key, ()) for key, one in apart.items()}
    return Certificate(
        missing=tuple(key for key in first if key not in second),
        surplus=tuple(key for key in second if key not in first),
        reordered=common != [key for key in second if key in first],
        shapes=_differences(one, other, lambda value: list(value.shape)),
        dtypes=_differences(one, other, lambda value: str(value.dtype).removeprefix("torch.")),
        flags=_differences(_flags(before), _flags(after), str),
        classes=_differences(_classes(before), _classes(after), str),
        kernels=kernels,
        largest_kernel_difference=difference,
        largest_kernel_layer=layer,
        values=tuple(f"{key}: {entry.removeprefix('the whole: ')}" for key in unlike for entry in unlike[key]),
        **_compared_outputs(before, after, batch, tolerance),
    )


def _compared_outputs(before: nn.Module, after: nn.Module, batch: Any, tolerance: float | None) -> dict[str, Any]:
    """Return what a certificate says of outputs."""
    found, top1, rows, dtype = Distance(0, 0, 0, (), ()), None, None, None
    not_finite: dict[str, None] = {}
    if batch is not None:
        outputs = first, second = _output(before, batch), _output(after, batch)
        found = distance(first, second)
        held = [leaves(output) for output in outputs]
        a, b = ([value for value in one.values() if isinstance(value, Tensor)] for one in held)
        found_at = (place for one in held for place, value in one.items() if _is_not_finite(value))
        not_finite = dict.fromkeys(place or "the whole" for place in found_at)
        dtype = next((value.dtype for value in pytree.tree_leaves(first) if _is_real(value)), None)
        # Python's numbers come out of tensors whose precision is not known any more.
        dtype = dtype or next((value.dtype for value in a if _is_real(value) and value.dim()), None)
        alike = len(a) == len(b) == 1 and a[0].shape == b[0].shape and a[0].dim() == 2 and a[0].numel() > 0
        if alike and not not_finite and a[0].is_floating_point() and b[0].is_floating_point():
            top1 = float((a[0].argmax(1) == b[0].argmax(1)).double().mean())
        rows = next((len(value) for value in pytree.tree_leaves(batch) if isinstance(value, Tensor) and value.dim()), 1)
        rows = len(batch) if isinstance(batch, list) else rows
    seen = found.compared > 0 or bool(found.unlike)
    return {
        "largest_output_difference": found.difference if seen else None,
        "relative_output_difference": found.relative if seen else None,
        "tolerance": torch.finfo(dtype or torch.float32).eps ** _SHARE_OF_DIGITS if tolerance is None else tolerance,
        "top1_agreement": top1,
        "batch": rows,
        "unlike": found.unlike,
        "uncompared": found.opaque,
        "not_finite": tuple(not_finite),
    }


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _is_not_finite(value: Any) -> bool:
    return _is_real(value) and not bool(value.isfinite().all())


def _output(model: nn.Module, batch: Any) -> Any:
    # A forward may write into its input; the other model gets the same one.
    batch = pytree.tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, batch)
    try:
        with evaluating(model), torch.no_grad():
            if isinstance(batch, tuple):
                return model(*batch)
            return model(**batch) if isinstance(batch, Mapping) else model(batch)
    except RefconvError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise _not_run(model, batch, error) from error


def _not_run(model: nn.Module, batch: Any, error: Exception) -> ModelError:
    """Return what is said of a model that fails on a batch; most often the batch is not what models take."""
    found = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if not any(isinstance(value, Tensor) for value in pytree.tree_leaves(batch)):
        expected = "a tensor, or a tuple, list or mapping of tensors"
        what = f"{type(model).__name__} cannot be run on it ({found})"
        return ModelError(what, where="batch", expected=expected, found=type(batch).__name__)
    shapes = [list(value.shape) for value in pytree.tree_leaves(batch) if isinstance(value, Tensor)]
    shown = ", ".join(map(str, shapes[:3])) + (", ..." if len(shapes) > 3 else "")
    what = f"{type(model).__name__} cannot be run on tensors of shape {shown}"
    return ModelError(what, where="batch", found=found, remedy="give a batch as both models take it")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and every one of its modules back in its own mode afterwards.

    Note [Evaluations are not compiled]: a compiled model runs as it is meanwhile. Compiling it for a few batches takes
    longer than they do, and torch makes code for any batch size of what has met two: training would then compute with
    other code than after resuming, where it comes first, and round otherwise.
    """
    modes = [(module, module.training) for module in model.modules()]
    stance = torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
    model.eval()
    try:
        with stance:
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _kernel_difference(model: nn.Module, first: State, second: State) -> tuple[str, float, int]:
    largest, where, count = 0.0, "", 0
    for layer in find_layers(model):
        key = plain_name(layer.key)
        if key in first and key in second and first[key].shape == second[key].shape:
            count += 1
            difference = largest_difference(first[key].cpu(), second[key].cpu())
            largest, where = max((largest, where), (difference, layer.label), key=lambda found: found[0])
    return where, largest, count


def _flags(model: nn.Module) -> dict[str, bool]:
    """Gradient flags of the parameters, as they are once merged."""
    flags = {}
    found = list(places(model, aliases=True))
    for name, parameter in model.named_parameters():
        place = next((place for place in found if name.startswith(place.names.stem)), None)
        own = name if place is None else place.names.plain(name)
        if own is not None:
            base = place is not None and name == place.names.base
            flags[plain_name(own)] = place.transform.base_requires_grad if base and place else parameter.requires_grad
    return flags


def _classes(model: nn.Module) -> dict[str, str]:
    """Classes of the modules, as they are once merged."""
    classes = {}
    found = {place.name: place for place in places(model)}
    alone = {name: place for name, place in found.items() if place.alone}
    bare = {name for name, place in alone.items() if len(lists_of(place.module)) == 1}
    gone = {place.names.stem.removesuffix(".") for place in alone.values()}
    gone |= {f"{dotted(name)}parametrizations" for name in bare}
    for name, module in model.named_modules():
        place = next((one for one in found.values() if name.startswith(one.names.stem)), None)
        own = name if place is None else place.names.plain(name)
        if own is None or name in gone or isinstance(module, Beneath):
            continue
        kind = type(module).__bases__[0] if name in bare else type(module)
        kind = ParametrizationList if isinstance(module, ParametrizationList) else kind
        shown = plain_name(f"{own}.").removesuffix(".") or "(the model)"
        classes[shown] = f"{kind.__module__}.{kind.__qualname__}"
    return classes


def _differences(first: State, second: State, view: Any) -> tuple[str, ...]:
    pairs = {key: (view(first[key]), view(second[key])) for key in first if key in second}
    return tuple(f"{key}: {one} -> {other}" for key, (one, other) in pairs.items() if one != other)


def _list(word: str, values: tuple[str, ...], most: int = 5) -> list[str]:
    more = ", ..." if len(values) > most else ""
    return [f"{len(values)} {word}: {', '.join(map(printable, values[:most]))}{more}"] if values else []
