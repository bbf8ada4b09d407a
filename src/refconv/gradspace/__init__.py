"""Gradient space: refocusing as a change of the plain kernel's gradient, with nothing added to the model."""

from refconv.gradspace.geometry import Decay, Geometry
from refconv.gradspace.groups import param_groups
from refconv.gradspace.optimizer import RefocusSGD

__all__ = ["Decay", "Geometry", "RefocusSGD", "param_groups"]
