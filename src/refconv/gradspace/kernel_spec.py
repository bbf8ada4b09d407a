"""The geometry of a layer: what, beside its base, determines how its gradients are rewritten."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from refconv.config import RefocusConfig, Scale, Start
from refconv.layers import Layer
from refconv.ops import Layout, refocused_blocks, smallest_refocus_weight
from refconv.parametrizations import computing_dtype, first_weight
from refconv.records import with_scale

Decay = Literal["refocus", "kernel", "none"]


@dataclass(frozen=True)
class KernelSpec:
    """One refocused layer, as plain data that an optimizer's parameter group can carry and a checkpoint can hold.

    Attributes:
        layer: the module's name.
        layout: how the kernel's slices form blocks.
        map_size: taps of the refocusing map per dimension.
        scale: of the Gram, see :func:`refconv.ops.scaling`.
        power: power of the Gram.
    """

    layer: str
    layout: Layout
    map_size: tuple[int, ...]
    scale: Scale
    power: float

    @classmethod
    def of(cls, layer: Layer, config: RefocusConfig) -> KernelSpec:
        """Return the geometry of a layer under the given settings.

        Raises:
            SettingError: if the map size does not fit.
        """
        return cls(layer.name, layer.layout(config.order), layer.map_size(config.map_size), config.scale, config.power)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and lists, as a state dict may hold them."""
        values = dataclasses.asdict(self)
        values["site"] = values.pop("layer")  # its name in files since the first version
        values["layout"]["kernel_size"] = list(self.layout.kernel_size)
        values["map_size"] = list(self.map_size)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> KernelSpec:
        """Read back what :meth:`to_dict` returned, today or before there was a choice of scales."""
        values = {**with_scale(values), "layer": values["site"]}
        del values["site"]
        layout = {**values["layout"], "kernel_size": tuple(values["layout"]["kernel_size"])}
        return cls(**{**values, "layout": Layout(**layout), "map_size": tuple(values["map_size"])})

    @property
    def label(self) -> str:
        """The layer's name as it is shown to people."""
        return self.layer or "(the model itself)"

    def started(self, base: Tensor, start: Start) -> Tensor:
        """Return the kernel that training starts from; random numbers are drawn as in kernel space."""
        weight = first_weight(self.layout, self.map_size, start, dtype=computing_dtype(base), device=base.device)
        blocks, sizes = self.layout.to_blocks(base.double()), (self.layout.kernel_size, self.map_size)
        moved = refocused_blocks(weight.double(), blocks, *sizes, scale=self.scale, power=self.power)
        return self.layout.from_blocks(moved).to(base.dtype)

    def refocus_weight(self, kernel: Tensor, base: Tensor) -> Tensor:
        """Return the smallest refocus weight [b, m, m * t] that makes ``kernel`` out of ``base``."""
        blocks, sizes = self.layout.to_blocks(base.double()), (self.layout.kernel_size, self.map_size)
        moved = self.layout.to_blocks(kernel.double()) - blocks
        weight = smallest_refocus_weight(moved, blocks, *sizes, scale=self.scale, power=self.power)
        return weight.to(computing_dtype(base))
