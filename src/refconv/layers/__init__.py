"""The convolution kernels of a model: where they are, what they are, which of them are meant, which are refused."""

from refconv.config import Selection
from refconv.layers.find import Layer, dotted, find_layers
from refconv.layers.selection import Choice, admitted, check_base, check_shared, select, select_trained

__all__ = [
    "Choice",
    "Layer",
    "Selection",
    "admitted",
    "check_base",
    "check_shared",
    "dotted",
    "find_layers",
    "select",
    "select_trained",
]
