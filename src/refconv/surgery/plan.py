"""The plan: which sites are refocused, which are not and why, and what it costs while training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import nn
from torch.nn.parameter import is_lazy

from refconv.ops import Order
from refconv.parametrizations import Start, check_settings
from refconv.records import Record
from refconv.sites import Choice, Selection, find_sites, select


@dataclass(frozen=True)
class PlanRow(Record):
    """One site in a plan.

    Attributes:
        site: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        family: ``conv``, ``transposed``, ``condconv`` or ``deformable``.
        shape: the stored kernel's shape.
        map_size: taps of the refocusing map per dimension.
        blocks: number of blocks.
        slices: slices per block.
        extra_parameters: refocus weights to train; zero for a site that shares its kernel with one above it.
        skipped: why the site is not refocused; None if it is.
    """

    site: str
    kind: str
    family: str
    shape: tuple[int, ...]
    map_size: tuple[int, ...]
    blocks: int
    slices: int
    extra_parameters: int
    skipped: str | None


@dataclass(frozen=True)
class Plan(Record):
    """What :func:`refocus` does to a model; ``print(plan)`` shows it as a table.

    Attributes:
        model: class name of the model.
        parameters: the plain model's parameters, which is also what is shipped.
        rows: every convolution kernel of the model, in order.
    """

    model: str
    parameters: int
    rows: tuple[PlanRow, ...]

    @property
    def refocused(self) -> tuple[PlanRow, ...]:
        """The rows that are refocused."""
        return tuple(row for row in self.rows if row.skipped is None)

    @property
    def skipped(self) -> tuple[PlanRow, ...]:
        """The rows that are not."""
        return tuple(row for row in self.rows if row.skipped is not None)

    @property
    def extra_parameters(self) -> int:
        """Refocus weights over all sites: trained, never shipped."""
        return sum(row.extra_parameters for row in self.refocused)

    def __str__(self) -> str:
        header = ("site", "kind", "kernel", "map", "blocks", "extra parameters")
        shown = [row for row in self.rows if row.skipped != "one tap"]
        lines = [header, *(_cells(row) for row in shown)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        table = [
            "  ".join(
                cell.rjust(width)
                if column == len(header) - 1 and row is not None and row.skipped is None
                else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for row, line in zip([None, *shown], lines, strict=True)
        ]
        counts = Counter(row.skipped for row in self.skipped)
        skipped = "".join(f"\n{count} skipped: {reason}" for reason, count in counts.items())
        summary = (
            f"{len(self.refocused)} of {len(self.rows)} kernels of {self.model} are refocused: "
            f"{self.parameters:,} parameters and {self.extra_parameters:,} refocus weights while training, "
            f"{self.parameters:,} when merged"
        )
        return "\n".join([*table, summary]) + skipped


def plan(
    model: nn.Module,
    *,
    map_size: int | Sequence[int] = 3,
    order: Order = "contiguous",
    start: Start = "zeros",
    normalize: bool = False,
    power: float = 1.0,
    include: Selection = None,
    exclude: Selection = None,
) -> Plan:
    """Say what :func:`refocus` would do with the same arguments, without touching the model.

    Only shapes are looked at, so models on the meta device can be planned. For the arguments see :func:`refocus`.

    Raises:
        SettingError: if a setting is out of its range or a pattern matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
        >>> print(plan(model, exclude="0"))
        site  kind       kernel         map    blocks  extra parameters
        0     dense      8 x 3 x 3 x 3         24      excluded by '0'
        1     depthwise  8 x 1 x 3 x 3  3 x 3  1 of 8               576
        1 of 3 kernels of Sequential are refocused: 340 parameters and 576 refocus weights while training,
        340 when merged
        1 skipped: excluded by '0'
        1 skipped: one tap
    """
    check_settings(start=start, power=power)
    choices = select(find_sites(model), include, exclude)
    return describe(model, choices, order=order, map_size=map_size)


def describe(model: nn.Module, choices: Sequence[Choice], *, order: Order, map_size: int | Sequence[int]) -> Plan:
    """Return the plan that follows from a selection of sites."""
    seen: set[int] = set()
    rows = []
    for choice in choices:
        site, layout = choice.site, choice.site.layout(order)
        sizes = site.map_size(map_size) if choice.skipped is None else (1,) * len(site.kernel_size)
        repeated = id(site.weight) in seen
        if choice.skipped is None:
            seen.add(id(site.weight))
        extra = 0 if repeated or choice.skipped is not None else layout.blocks * layout.groups**2 * prod(sizes)
        rows.append(
            PlanRow(
                site=site.name,
                kind=site.kind,
                family=site.family,
                shape=site.shape,
                map_size=sizes,
                blocks=layout.blocks,
                slices=layout.groups,
                extra_parameters=extra,
                skipped=choice.skipped,
            )
        )
    parameters = sum(parameter.numel() for parameter in model.parameters() if not is_lazy(parameter))
    return Plan(model=type(model).__name__, parameters=parameters, rows=tuple(rows))


def _cells(row: PlanRow) -> tuple[str, ...]:
    kind = row.kind if row.family == "conv" else f"{row.kind} {row.family}"
    return (
        row.site or "(the model)",
        kind,
        " x ".join(map(str, row.shape)),
        " x ".join(map(str, row.map_size)) if row.skipped is None else "",
        f"{row.blocks:,}" if row.slices == 1 else f"{row.blocks:,} of {row.slices}",
        f"{row.extra_parameters:,}" if row.skipped is None else row.skipped,
    )
