"""Refocusing a model in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from torch import nn

from refconv.ops import Order, Scale
from refconv.parametrizations import Start
from refconv.sites import Selection
from refconv.surgery.planning import Plan
from refconv.surgery.reparametrization import reparametrize


def refocus(
    model: nn.Module,
    *,
    map_size: int | Sequence[int] = 3,
    order: Order = "contiguous",
    start: Start = "zeros",
    scale: Scale = "capped",
    power: float = 1.0,
    include: Selection = None,
    exclude: Selection = None,
    **unknown: NoReturn,
) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable refocusing transformation on each.

    In place, and all or nothing. With the default start the model computes bit for bit what it did before. Call
    it after loading weights and moving to the device, before compiling, wrapping with DDP or making the optimizer.
    Only tensors change: modules, forwards and hyperparameters stay. Kernels that are frozen (``requires_grad`` False)
    are left alone, as in gradient space. Afterwards bases cannot be trained, and writing to a kernel is an error.

    Args:
        model: any module with convolutions.
        map_size: odd taps of the refocusing map, one number or one per spatial dimension; cut to what small
            kernels allow.
        order: how slices are gathered into blocks where 1 < groups < channels: ``contiguous`` as released, or
            ``across`` the groups.
        start: ``zeros`` (the pretrained function exactly) or ``kaiming`` (as released).
        scale: how far a step on the refocus weight moves the kernel. ``capped``: no faster than a step of plain
            training at the same learning rate, under SGD and Adam alike; ``normalized``: the mean eigenvalue of each
            block's Gram is one; ``paper``: as released, which moves depthwise kernels hundreds of times as fast.
        power: power of the Gram that gradients meet; 1 is RefConv, 0 plain training towards the base.
        include: kinds, globs or regular expressions of the sites to refocus; by default every kernel with more
            than one tap. See :func:`refconv.sites.select`.
        exclude: the same for sites to leave out.
        **unknown: none; any other name is an error that says what there is.

    Returns:
        The plan that was carried out.

    Raises:
        SettingError: if a setting is unknown or out of its range, or a pattern matches nothing.
        SiteError: if a kernel is refocused already, lazy, without values, not finite, all zero, or shared with one
            that is not chosen. The model is untouched then.
        ModelError: if the model is wrapped, or nothing in it can be refocused.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> refocus(model, include="depthwise").extra_parameters
        576
    """
    settings = {"map_size": map_size, "order": order, "start": start, "scale": scale, "power": power, **unknown}
    return reparametrize(model, "refocus", include=include, exclude=exclude, **settings)
