"""The convolution kernels of a model: where they are, what they are, which of them are meant, which are refused."""

from refconv.config import Selection
from refconv.layers.find import FAMILIES, KINDS, PARAMETRIZED, Family, Kind, Layer, dotted, find_layers
from refconv.layers.masks import Masks, apply_masks, masked, matched, read_masks
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
    "Masks",
    "Selection",
    "admitted",
    "apply_masks",
    "check_base",
    "check_shared",
    "dotted",
    "find_layers",
    "functional_convolutions",
    "lists_of",
    "masked",
    "matched",
    "read_masks",
    "select",
    "select_trained",
    "shown",
]
