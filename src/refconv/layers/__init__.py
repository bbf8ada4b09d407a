"""The convolution kernels of a model: where they are, what they are, which of them are meant, which are refused."""

from refconv.config import Selection
from refconv.layers.find import FAMILIES, KINDS, PARAMETRIZED, Family, Kind, Layer, dotted, find_layers
from refconv.layers.selection import FROZEN, Choice, admitted, check_base, check_shared, select, select_trained
from refconv.layers.sources import functional_convolutions
from refconv.layers.stored import lists_of, shown

__all__ = [
    "FAMILIES",
    "FROZEN",
    "KINDS",
    "PARAMETRIZED",
    "Choice",
    "Family",
    "Kind",
    "Layer",
    "Selection",
    "admitted",
    "check_base",
    "check_shared",
    "dotted",
    "find_layers",
    "functional_convolutions",
    "lists_of",
    "select",
    "select_trained",
    "shown",
]
