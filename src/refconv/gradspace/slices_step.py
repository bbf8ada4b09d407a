"""Steps of dense kernels on a CPU in one pass over their memory: g G, decay, momentum and the new kernel.

What torch's SGD reads and writes in a pass for each of its operations, a compiled loop does slice by slice
(:mod:`refconv.fused`), so that multiplying by the Gram costs no pass of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refconv.fused import slices
from refconv.gradspace import batching
from refconv.gradspace.metric import BySlices, Metric

MOMENTUM = "momentum_buffer"  #: torch's key of the momentum in the state of a parameter


def stepped(parameter: Tensor, state: dict[str, Any], metric: Metric, group: dict[str, Any], base: str) -> bool:
    """Take the whole step of a kernel, if the loops are there for it.

    Args:
        parameter: the kernel, which changes in place; its gradient is left as it is.
        state: of the parameter; momentum appears in it, or changes.
        metric: of its layer.
        group: the parameter's group, with the settings of torch's SGD and ``decay``.
        base: the key of the base in the state.

    Returns:
        Whether it was taken.
    """
    gradient = parameter.grad
    if gradient is None or batching.way(parameter.device) != "alone" or group["differentiable"]:
        return False
    if not isinstance(metric, BySlices) or metric.grams is not None:
        return False
    momentum, first = group["momentum"] != 0, state.get(MOMENTUM) is None
    buffer = None
    if momentum:
        buffer = torch.empty_like(parameter) if first else state[MOMENTUM]
    tensors = [one for one in (parameter, gradient, state[base], buffer) if one is not None]
    if not slices.fits(*metric.sizes, *tensors) or slices.place(parameter, metric.layout.taps) is None:
        return False
    gradient, metric.base = (slices.strided_as(parameter, one) for one in (gradient, metric.base))
    state[base] = metric.base
    if buffer is not None:
        buffer = state[MOMENTUM] = slices.strided_as(parameter, buffer)
    rule = slices.Rule(
        rate=float(group["lr"]),
        momentum=group["momentum"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        decay=0.0 if group["decay"] == "none" else float(group["weight_decay"]),
        sign=-1.0 if group["maximize"] else 1.0,
        center=1.0 if group["decay"] == "refocus" else 0.0,
        first=first,
    )
    keep = metric.mask is not None
    more: dict[str, Any] = {"root": metric.root, "shift": metric.shift, "keep": keep}
    slices.step(parameter, gradient, buffer, state[base], *metric.sizes, rule, **more)
    return True
