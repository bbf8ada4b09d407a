"""Gradient space: refocusing as a change of the plain kernel's gradient, with nothing added to the model."""

from refconv.gradspace.groups import Decay, KernelSpec, param_groups
from refconv.gradspace.optimizer import RefocusSGD

__all__ = ["Decay", "KernelSpec", "RefocusSGD", "param_groups"]
