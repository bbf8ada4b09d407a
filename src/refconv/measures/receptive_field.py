"""The effective receptive field: which part of the input moves one unit of a feature map, and how far out.

The records; what they are computed from is in ``analysis/receptive_field.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import number, text_table, times
from refconv.records import Record


@dataclass(frozen=True)
class ReceptiveField(Record):
    """What of the input moves the central unit of a layer.

    Attributes:
        layer: the module's name.
        map_shape: of the layer's output, per spatial dimension.
        unit: the position of the unit in it.
        input_shape: of the input, per spatial dimension.
        samples: over how many samples A is the mean.
        cut: whether there were more that ``max_samples`` left out.
        shares: shares of the energy A^2, ascending.
        radii: least distance in pixels from the energy's centre within which each share lies.
        centre: the energy's centre, in pixels from the first one.
        side: side in pixels of a square (cube, line) of as many positions as have an A above 4.55 % of the largest.
        extent: per dimension, pixels from the first to the last position that has any influence.
        values: A over its largest, averaged down to ``values_shape``, in row-major order.
        values_shape: at most ``max_map`` per dimension.
    """

    layer: str
    map_shape: tuple[int, ...]
    unit: tuple[int, ...]
    input_shape: tuple[int, ...]
    samples: int
    cut: bool
    shares: tuple[float, ...]
    radii: tuple[float, ...]
    centre: tuple[float, ...]
    side: float
    extent: tuple[int, ...]
    values: tuple[float, ...]
    values_shape: tuple[int, ...]

    def __str__(self) -> str:
        rows = [(f"{share:.0%}", number(radius)) for share, radius in zip(self.shares, self.radii, strict=True)]
        return (
            f"{text_table(('share of the energy', 'radius in pixels'), rows)}\n"
            f"{self.layer}, unit {self.unit} of {times(self.map_shape)}: side {number(self.side)} pixels, "
            f"reaches {times(self.extent)} of {times(self.input_shape)}, "
            f"over {self.samples:,} samples{' of more' if self.cut else ''}"
        )
