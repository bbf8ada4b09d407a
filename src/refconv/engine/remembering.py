"""What a checkpoint holds of its optimizer: all that its steps leave of every parameter that they reach.

Optimizers begin at zero what they do not find, so a momentum that was lost would change a run silently. What an entry
consists of is not listed by optimizer: each is tried, as it was made, on a parameter of the same shape.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from timm.optim import Lookahead
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils import _pytree as pytree

from refconv.engine.setup import Setup
from refconv.engine.stepping import Stepper
from refconv.errors import CheckpointError, in_one_line
from refconv.gradspace import RefocusSGD
from refconv.gradspace.groups import SITES
from refconv.gradspace.optimizer import BASE
from refconv.methods.method import inner_optimizer
from refconv.models.checkpoint import Checkpoint
from refconv.models.weight_files import some

Entry = dict[str, Any]  #: What is kept under each key: the shape of a tensor, or the type of something else


def kept_by(optimizer: Optimizer, steps: int) -> dict[Tensor, Entry]:
    """Return what an optimizer will keep of each parameter once it has had a gradient in each of its last steps.

    The optimizer stays as it is.

    Args:
        optimizer: as it was made, without state of steps.
        steps: taken since all began, or since the last new round; Lookahead keeps more from a certain number on.
    """
    found: dict[Tensor, Entry] = {}
    for group in optimizer.param_groups:
        tried: dict[Any, Entry] = {}
        sites = group.get(SITES) or [None] * len(group["params"])
        for parameter, refocused in zip(group["params"], sites, strict=True):
            kind = parameter.shape, parameter.dtype, parameter.device
            if kind not in tried:
                tried[kind] = _tried(optimizer, group, parameter, steps)
            base = {} if refocused is None else {BASE: tuple(parameter.shape)}
            found[parameter] = {**tried[kind], **base}
    return found


def load_optimizer(stepper: Stepper, setup: Setup, checkpoint: Checkpoint, *, where: str) -> None:
    """Load the state of the optimizer; refuse one where the steps would have left more of a parameter.

    A parameter that no step reaches has no state. Whether one without state is such a parameter is tried on the last
    step before the checkpoint, with its samples and its random numbers.

    Args:
        stepper: as it was made, with the weights of the checkpoint.
        setup: whose batches the steps take.
        checkpoint: of the same recipe.
        where: its file.

    Raises:
        CheckpointError: if the state is none of this optimizer, an entry or a part of one is missing, or a number in it
            is not finite.
    """
    # What optimizers of other packages say about states that are not theirs is manifold.
    with in_one_line(CheckpointError, "does not fit the run", where=where):
        if checkpoint.step:
            _check(stepper, setup, checkpoint, where)
        stepper.optimizer.load_state_dict(checkpoint.optimizer)


def _check(stepper: Stepper, setup: Setup, checkpoint: Checkpoint, where: str) -> None:
    step, groups = checkpoint.step, stepper.optimizer.param_groups
    state, saved = checkpoint.optimizer["state"], checkpoint.optimizer["param_groups"]
    sizes, given = ([len(group["params"]) for group in kept] for kept in (groups, saved))
    if given != sizes:
        what = "the groups of the optimizer's parameters are not those of the run"
        raise _incomplete(what, f"{sizes} parameters", str(given), where)
    for own, group in zip(groups, saved, strict=True):
        if lost := sorted(own.keys() - group.keys()):
            raise _incomplete("a setting of the optimizer is missing", some(lost), "none", where)
    keys = [(one, key) for own, group in zip(groups, saved, strict=True) for one, key in _pairs(own, group)]
    _check_finite(stepper, {one: state.get(key, {}) for one, key in keys}, where)
    expected = kept_by(stepper.optimizer, _steps_remembered(stepper, setup, step))
    held = {one: _form(state.get(key, {})) for one, key in keys if expected[one]}
    # A base is kept of kernels that no step has reached too.
    empty = {one for one, entry in held.items() if not _memory(entry, expected[one])}
    if held and empty == held.keys():
        raise _incomplete("the state of the optimizer is empty", f"that of {step} steps", "none", where)
    lacking = {one for one, entry in held.items() if one not in empty and not _holds(entry, expected[one])}
    if empty:
        lacking |= empty & last_step_again(stepper, setup, step)
    if lacking:
        names = {name: parameter for name, parameter in stepper.named_parameters() if parameter in lacking}
        first = next(iter(names))
        wanted, found = expected[names[first]], held[names[first]]
        parts = [name for name, form in wanted.items() if found.get(name) != form]
        has = ", ".join(f"{name} {_said(found[name])}" for name in parts if name in found) or "none"
        what = f"the state of the optimizer is incomplete for {len(names)} of {len(held)} parameters"
        said = ", ".join(f"{name} {_said(wanted[name])}" for name in parts)
        raise _incomplete(f"{what} ({some(names)})", f"{said} of {first}", has, where)


def _check_finite(stepper: Stepper, state: Mapping[Tensor, Mapping[str, Any]], where: str) -> None:
    """Refuse NaN and infinity: no optimizer of timm's keeps them of a parameter that is finite itself."""
    broken = {
        name: parts
        for name, one in stepper.named_parameters()
        if (parts := [part for part, value in state.get(one, {}).items() if not finite(value)])
    }
    if broken:
        first, parts = next(iter(broken.items()))
        what = f"the state of the optimizer is not finite for {len(broken)} of {len(state)} parameters ({some(broken)})"
        found = f"NaN or infinity in {some(parts)} of {first}"
        remedy = "take a copy of the file from before, or start the run anew"
        raise CheckpointError(what, where=where, expected="finite numbers", found=found, remedy=remedy)


def finite(state: Any) -> bool:
    """Say whether all numbers of a state, in tensors, lists and mappings, are finite."""
    return all(
        bool(torch.as_tensor(leaf).isfinite().all())
        for leaf in pytree.tree_leaves(state)
        if isinstance(leaf, (Tensor, float))
    )


def _steps_remembered(stepper: Stepper, setup: Setup, step: int) -> int:
    """Return the steps since a round began, or as many as one likes if an epoch has ended since.

    Slow weights of Lookahead are put in place at the ends of epochs too.
    """
    steps, epoch = stepper.steps_of_round(step), setup.steps_per_epoch
    return sys.maxsize if step // epoch > (step - steps) // epoch else steps


def _pairs(own: dict[str, Any], group: dict[str, Any]) -> Iterator[tuple[Tensor, int]]:
    """Pair the parameters of a group with their keys in a state dict."""
    return zip(own["params"], group["params"], strict=True)


def _incomplete(what: str, expected: str, found: str, where: str) -> CheckpointError:
    remedy = "copy the file again, or start the run anew"
    return CheckpointError(what, where=where, expected=expected, found=found, remedy=remedy)


def _memory(entry: Entry, expected: Entry) -> Collection[str]:
    """Return the keys that steps have left; where they leave none but the base, that one counts."""
    return entry.keys() - {BASE} if expected.keys() - {BASE} else entry.keys()


def _holds(entry: Entry, expected: Entry) -> bool:
    return all(entry.get(name) == form for name, form in expected.items())


def last_step_again(stepper: Stepper, setup: Setup, step: int) -> set[Tensor]:
    """Compute the gradients of the last step before a checkpoint, and return the parameters that have one.

    Note [Buckets]: from its second step on, DistributedDataParallel gathers gradients into buckets in the order in
    which the first step made them, and where one lies decides in which order three or more processes add it up. So a
    run that goes on in several processes computes a step before it takes one, to end in the same bits.
    """
    epoch, first = divmod(step - 1, setup.steps_per_epoch)
    parts = itertools.islice(setup.train_batches(epoch, first), setup.recipe.grad_accum_steps)
    return stepper.reached(step - 1, list(parts))


def _tried(optimizer: Optimizer, group: dict[str, Any], parameter: Tensor, steps: int) -> Entry:
    """Return what steps leave of a parameter like this one."""
    inner = inner_optimizer(optimizer)
    one = nn.Parameter(torch.ones_like(parameter))
    one.grad = torch.ones_like(one)
    own = {key: value for key, value in group.items() if key != SITES}
    # In gradient space what is kept beside the base is torch's; its own step would need the layer.
    twin = SGD([one], lr=0.0) if isinstance(inner, RefocusSGD) else copy.copy(inner)
    twin.state, twin.param_groups = defaultdict(dict), [{**own, "params": [one]}]
    stepping: Optimizer = twin
    if isinstance(optimizer, Lookahead):
        stepping = Lookahead(twin, group["lookahead_alpha"], group["lookahead_k"])
        steps = min(steps, group["lookahead_k"])
    else:
        steps = 1
    for _ in range(max(1, steps)):
        stepping.step()
    return _form(twin.state[one])


def _form(entry: Mapping[str, Any]) -> Entry:
    return {name: _form_of(value) for name, value in entry.items() if value is not None}


def _form_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_form_of(part) for part in value]
    return "number" if isinstance(value, (bool, int, float)) else type(value).__name__


def _said(form: Any) -> str:
    return str(list(form)) if isinstance(form, tuple) else str(form)
