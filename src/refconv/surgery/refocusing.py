"""Refocusing a model in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from refconv.config import RefocusConfig, RefocusSettings
from refconv.surgery.planning import Plan
from refconv.surgery.reparametrization import reparametrize

if TYPE_CHECKING:
    from typing_extensions import Unpack


def refocus(model: nn.Module, config: RefocusConfig | None = None, **settings: Unpack[RefocusSettings]) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable refocusing transformation on each.

    In place, and all or nothing. With the default start the model computes bit for bit what it did before. Call
    it after loading weights and moving to the device, before compiling, wrapping with DDP or making the optimizer.
    Only tensors change: modules, forwards and hyperparameters stay. Kernels that are frozen (``requires_grad`` False)
    are left alone, as in gradient space. Afterwards bases cannot be trained, and writing to a kernel is an error.

    Args:
        model: any module with convolutions.
        config: all settings.
        **settings: single settings in place of a configuration, by the names of its fields; see
            :class:`refconv.RefocusConfig`.

    Returns:
        The plan that was carried out.

    Raises:
        SettingError: if a setting is unknown or out of its range, or a pattern matches nothing.
        LayerError: if a kernel is refocused already, lazy, without values, not finite, all zero, or shared with one
            that is not chosen. The model is untouched then.
        ModelError: if the model is wrapped, or nothing in it can be refocused.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> refocus(model, include="depthwise").extra_parameters
        576
    """
    return reparametrize(model, RefocusConfig.of(config, settings))
