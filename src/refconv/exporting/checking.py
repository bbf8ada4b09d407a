"""Running an exported file in its own runtime and comparing it with the network in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refconv.errors import ModelError
from refconv.exporting.network import Deployed
from refconv.models.exported import Runtime
from refconv.surgery.outputs import distance

TOLERANCE = {"float32": 1e-4, "float16": 3e-2}
"""Relative difference up to which outputs count as equal.

Runtimes fold batch norms and order sums in other ways. Equal networks differ by some 1e-6 in float32, and by some of
float16's 1e-3 where that is computed in; networks whose weights differ lie far above.
"""


class Comparison(NamedTuple):
    """How the outputs of a file differ from those of the network."""

    difference: float
    relative: float
    top1_agreement: float | None
    unlike: tuple[str, ...]


def inputs_of(samples: Any, *, takes_lists: bool) -> list[Tensor]:
    """Return the inputs to check on: each image alone where lists are taken, else the batch, and its first alone."""
    if takes_lists:
        return [image[None] for image in samples]
    return [samples, samples[:1]] if len(samples) > 1 else [samples]


@torch.no_grad()
def compared(network: Deployed, runtime: Runtime, inputs: Sequence[Tensor]) -> Comparison:
    """Run the network in torch and the file in its runtime on inputs as the file takes them."""
    wanted, found = [], []
    for images in inputs:
        outputs = network(images)
        wanted.append(_canonical((outputs,) if isinstance(outputs, Tensor) else outputs, network))
        found.append(_canonical(runtime.run(images), network))
    apart = distance(wanted, found)
    return Comparison(apart.difference, apart.relative, _top1(wanted[0], found[0], network), apart.unlike)


@torch.no_grad()
def check_outputs(network: Deployed, inputs: Sequence[Tensor]) -> None:
    """Refuse a network whose outputs are not finite: files of it would count as equal whatever they hold.

    Raises:
        ModelError: if there is NaN or infinity in them.
    """
    for images in inputs:
        outputs = network(images)
        tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
        if not all(bool(one.isfinite().all()) for one in tensors):
            remedy = "check its weights and its input"
            raise ModelError("its outputs are not finite", where=type(network.model).__name__, remedy=remedy)


def finite(difference: float) -> float | None:
    """Return a number as records hold it: JSON has no infinity and no NaN."""
    return difference if math.isfinite(difference) else None


def _canonical(outputs: Sequence[Tensor], network: Deployed) -> dict[str, Tensor]:
    """Return outputs by name; boxes in one order, since equal scores may come in any."""
    named = dict(zip(network.names, outputs, strict=True))
    if not network.takes_lists:
        return named
    keys = [*named["boxes"].round().T.flip(0), named["labels"]]
    order = torch.arange(len(named["scores"]))
    for key in keys:
        order = order[key[order].argsort(stable=True)]
    return {name: value[order] for name, value in named.items()}


def _top1(wanted: dict[str, Tensor], found: dict[str, Tensor], network: Deployed) -> float | None:
    (name,) = network.names[:1]
    if not network.exclusive or wanted[name].shape != found[name].shape:
        return None
    return float((wanted[name].argmax(1) == found[name].argmax(1)).double().mean())
