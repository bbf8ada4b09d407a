"""Random numbers that follow from a seed and the name of a layer, so that every loading gives the same ones."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, layer: str) -> torch.Generator:
    """Return a generator on the CPU for one layer.

    Args:
        seed: the setting.
        layer: the layer's name; layers of the same shape get different numbers.

    Example:
        >>> torch.rand(1, generator=generator_for(0, "stem")) == torch.rand(1, generator=generator_for(0, "stem"))
        tensor([True])
    """
    digest = hashlib.sha256(f"{seed} {layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
