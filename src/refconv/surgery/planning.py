"""The plan: which layers are transformed, which are not and why, and what it costs to train; sizes by a budget."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from refconv.config import GramConfig, RefocusConfig, RefocusSettings, TransformConfig
from refconv.errors import SettingError, printable
from refconv.layers import Choice, find_layers, functional_convolutions, select_trained
from refconv.parametrizations import TRANSFORMS, config_of, layout_at
from refconv.records import Record

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class PlanRow(Record, former={"site": "layer"}):
    """One layer in a plan; see also :class:`refconv.layers.Layer`."""

    layer: str
    kind: str
    family: str
    shape: tuple[int, ...]
    map_size: tuple[int, ...]  #: taps of the refocusing map per dimension; empty for transformations without a map
    blocks: int
    slices: int  #: slices per block
    #: numbers of the transformation to train, such as refocus weights; zero for a layer that shares its kernel with one
    #: above it
    extra_parameters: int
    skipped: str | None  #: why the layer is not transformed; None if it is
    #: whether it reads patches that do not overlap (stride = kernel size), as vision transformers do
    patches: bool = False
    zeros: int = 0  #: entries of the stored kernel that are zero, as of a pruned network
    through: tuple[str, ...] = ()  #: classes of what computes the kernel from the stored one, which is transformed


@dataclass(frozen=True)
class Plan(Record):
    """What :func:`refocus` or :func:`reparametrize` does to a model; ``print(plan)`` shows it as a table."""

    model: str
    parameters: int  #: the plain model's parameters, which is also what is shipped
    rows: tuple[PlanRow, ...]  #: every convolution kernel of the model, in order
    transform: str = "refocus"
    #: modules that convolve or unfold with kernels of no convolution module, made for each input or fixed
    functional: tuple[str, ...] = ()
    zeros: str = "fill"  #: what becomes of entries that are zero

    @property
    def refocused(self) -> tuple[PlanRow, ...]:
        """The rows that are refocused, or transformed as :attr:`transform` says."""
        return tuple(row for row in self.rows if row.skipped is None)

    @property
    def skipped(self) -> tuple[PlanRow, ...]:
        """The rows that are not."""
        return tuple(row for row in self.rows if row.skipped is not None)

    @property
    def extra_parameters(self) -> int:
        """Numbers of the transformation over all layers, such as refocus weights: trained, never shipped."""
        return sum(row.extra_parameters for row in self.refocused)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What should be known about the kernels that are chosen, if anything."""
        chosen = self.refocused
        single = [row.layer for row in chosen if row.blocks * row.slices == 1]
        remarks = []
        if chosen and all(row.patches for row in chosen):
            remarks += ["only patch embeddings are chosen: the stride is the kernel size, and patches do not overlap"]
        if single:
            what = f"{len(single)} kernels of a single slice, which has no others to refocus on, such as {single[0]}"
            remarks += [f"{what}: gates over channels, or one-channel filters; exclude= leaves them out"]
        through = Counter(kind for row in chosen for kind in row.through)
        if through:
            kinds = ", ".join(f"{kind} ({count} kernels)" for kind, count in through.items())
            remarks += [f"what computes kernels from stored ones stays and acts after: {kinds}"]
        entries, zeros = (
            (sum(one) for one in zip(*((prod(row.shape), row.zeros) for row in chosen), strict=True))
            if chosen
            else (0, 0)
        )
        if zeros and (self.zeros == "keep" or 1000 * zeros > entries):  # fewer are rounding or chance
            fate = "they are kept" if self.zeros == "keep" else "they will be filled; zeros='keep' keeps them"
            remarks += [
                f"{zeros:,} of {entries:,} entries of the chosen kernels are zero ({zeros / entries:.1%}): {fate}"
            ]
        if self.functional:
            what = f"{len(self.functional)} modules apply kernels of no convolution module, which are not refocused"
            more = ", ..." if len(self.functional) > 3 else ""
            remarks += [f"{what}: {', '.join(self.functional[:3])}{more}"]
        return tuple(remarks)

    def stages(self, depth: int = 1) -> str:
        """Return the sums over the layers whose names begin alike, up to ``depth`` parts of the name, as a table.

        Example:
            >>> model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 4, 1))
            >>> print(plan(model).stages())
            stage  kernels  refocused  entries  extra parameters
            0            2          2      792               792
            1            1          0       32                 0
        """
        sums: dict[str, list[int]] = {}
        for row in self.rows:
            own = sums.setdefault(".".join(row.layer.split(".")[:depth]) or "(the model)", [0, 0, 0, 0])
            counts = 1, int(row.skipped is None), prod(row.shape), row.extra_parameters
            own[:] = [one + other for one, other in zip(own, counts, strict=True)]
        done = "refocused" if self.transform == "refocus" else "transformed"
        header = ("stage", "kernels", done, "entries", "extra parameters")
        lines = [header, *((printable(name), *(f"{count:,}" for count in counts)) for name, counts in sums.items())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = [
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
            for line in lines
        ]
        return "\n".join("  ".join(row) for row in rows)

    def __str__(self) -> str:
        header = ("layer", "kind", "kernel", "map", "blocks", "extra parameters")
        shown = [row for row in self.rows if row.skipped != "one tap"]
        lines = [header, *(_cells(row) for row in shown)]
        if not any(row.map_size for row in shown):
            lines = [(*line[:3], *line[4:]) for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = []
        for row, line in zip([None, *shown], lines, strict=True):
            *cells, last = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            number = row is not None and row.skipped is None
            table.append("  ".join([*cells, line[-1].rjust(widths[-1]) if number else last]).rstrip())
        counts = Counter(row.skipped for row in self.skipped)
        skipped = "".join(f"\n{count} skipped: {reason}" for reason, count in counts.items())
        done, extra = "refocused", "refocus weights"
        if self.transform != "refocus":
            done, extra = f"transformed by {self.transform}", "of the transformation"
        summary = (
            f"{len(self.refocused)} of {len(self.rows)} kernels of {self.model} are {done}: "
            f"{self.parameters:,} parameters and {self.extra_parameters:,} {extra} while training, "
            f"{self.parameters:,} when merged"
        )
        return "\n".join([*table, summary]) + skipped + "".join(f"\n{remark}" for remark in self.remarks)


def plan(model: nn.Module, config: TransformConfig | None = None, **settings: Unpack[RefocusSettings]) -> Plan:
    """Say what :func:`refocus` or :func:`reparametrize` would do, without touching the model.

    Only shapes are looked at, so models on the meta device can be planned.

    Args:
        model: any module with convolutions.
        config: all settings of refocusing, or of another transformation.
        **settings: single settings of refocusing in place of ``config``.

    Raises:
        SettingError: if a setting is unknown or out of its range, or a pattern matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
        >>> print(plan(model, exclude="0"))
        layer  kind       kernel         map    blocks  extra parameters
        0     dense      8 x 3 x 3 x 3         24      excluded by '0'
        1     depthwise  8 x 1 x 3 x 3  3 x 3  1 of 8               576
        1 of 3 kernels of Sequential are refocused: 340 parameters and 576 refocus weights while training,
        340 when merged
        1 skipped: excluded by '0'
        1 skipped: one tap
    """
    return plan_of(model, RefocusConfig.of(None, settings) if config is None else config_of(config, settings))


def plan_of(model: nn.Module, config: TransformConfig | str, **settings: Any) -> Plan:
    """Say what :func:`reparametrize` would do with the same arguments, without touching the model.

    Raises:
        SettingError: if there is no such transformation or setting, a value is out of its range, or a pattern
            matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
        >>> [row.extra_parameters for row in plan_of(model, "low_rank", rank=2).rows]
        [70, 34]
    """
    complete = config_of(config, settings)
    choices = select_trained(find_layers(model), complete.include, complete.exclude, one_tap=complete.one_tap)
    return describe(model, choices, complete)


def describe(model: nn.Module, choices: Sequence[Choice], config: TransformConfig) -> Plan:
    """Return the plan that follows from a selection of layers."""
    kind = TRANSFORMS[config.method]
    seen: set[int] = set()
    rows = []
    for choice in choices:
        layer, layout = choice.layer, layout_at(choice.layer, config)
        sizes: tuple[int, ...] = ()
        if isinstance(config, GramConfig):
            sizes = layer.map_size(config.map_size if choice.skipped is None else 1, config.order)
        extra = 0 if id(layer.weight) in seen or choice.skipped is not None else kind.count(layout, config)
        if choice.skipped is None:
            seen.add(id(layer.weight))
        stride = getattr(layer.module, "stride", ())  # the foreign classes may hold a single number for both dimensions
        strides = (stride,) * len(layer.kernel_size) if isinstance(stride, int) else tuple(stride)
        patches = layer.kind != "pointwise" and strides == layer.kernel_size
        about = layer.name, layer.kind, layer.family, layer.shape
        own: dict[str, Any] = {"zeros": _zeros(layer.weight)}
        own["through"] = () if layer.refocused else layer.parametrized_by
        rows.append(PlanRow(*about, sizes, layout.blocks, layout.slices, extra, choice.skipped, patches, **own))
    parameters = sum(parameter.numel() for parameter in model.parameters() if not is_lazy(parameter))
    functional = functional_convolutions(model, {row.layer for row in rows})
    return Plan(type(model).__name__, parameters, tuple(rows), config.method, functional, config.zeros)


def _zeros(weight: Tensor | None) -> int:
    """Return how many entries of a kernel are zero; of one without values, or of parts on several processes, none."""
    if weight is None or is_lazy(weight) or weight.is_meta or hasattr(weight, "device_mesh"):
        return 0
    return int((weight.detach() == 0).sum())


def _cells(row: PlanRow) -> tuple[str, ...]:
    kind = row.kind if row.family == "conv" else f"{row.kind} {row.family}"
    blocks = f"{row.blocks:,}" if row.slices == 1 else f"{row.blocks:,} of {row.slices}"
    shape, taps = (" x ".join(map(str, sizes)) for sizes in (row.shape, row.map_size))
    last = ("", row.skipped) if row.skipped is not None else (taps, f"{row.extra_parameters:,}")
    return printable(row.layer) or "(the model)", kind, shape, last[0], blocks, last[1]


@dataclass(frozen=True)
class Budget(Record):
    """The settings that come closest to a number of trained parameters, and by how much they miss it."""

    transform: str
    #: to hand over to :func:`refconv.surgery.reparametrize`: those given and the one that was fitted
    settings: dict[str, Any]
    count: int  #: numbers of the transformation that are trained with them, over all layers
    miss: int  #: the count minus what was asked for

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.transform} with {chosen}: {self.count:,} trained, {self.miss:+,} against the budget"


def fit_budget(model: nn.Module, config: TransformConfig | str, parameters: int, **settings: Any) -> Budget:
    """Find the size of a transformation that comes closest to a number of trained parameters.

    Counts follow from shapes alone: nothing is allocated and the model is not touched. Of two sizes that are equally
    close the smaller is taken, and the smallest where a transformation cannot grow as far.

    Args:
        model: any module with convolutions.
        config: the name of a transformation with a size, such as ``low_rank`` with its rank; or its configuration, in
            which the size does not count.
        parameters: the number to come close to, of the transformation alone, over all layers.
        **settings: with a name, other settings of the transformation.

    Raises:
        SettingError: if the transformation has no size, its size was given, or a setting is out of its range.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
        >>> print(fit_budget(model, "low_rank", 200))
        low_rank with rank=4: 208 trained, +8 against the budget
    """
    complete = config_of(config, settings)
    name, kind = complete.method, TRANSFORMS[complete.method]
    if kind.size is None:
        sized = ", ".join(other for other, candidate in TRANSFORMS.items() if candidate.size is not None)
        what = f"{name} has no setting that changes how many numbers are trained"
        remedy = f"it trains {plan_of(model, complete).extra_parameters:,}"
        raise SettingError(what, where="parameters", expected=f"one of {sized}", remedy=remedy)
    size = kind.size
    if size in settings:
        raise SettingError("is set by the budget", where=size, remedy="leave it out")

    def count(step: int) -> int:
        own: dict[str, Any] = {size: kind.sized(step)}
        return plan_of(model, dataclasses.replace(complete, **own)).extra_parameters

    high = 1
    while count(high) < parameters and count(2 * high) > count(high):
        high *= 2
    low = 0  # counts never shrink as sizes grow: find the first size that reaches the number, or the last growth
    target = min(parameters, count(high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= target else (middle, high)
    best = min((step for step in (high - 1, high) if step), key=lambda step: (abs(count(step) - parameters), step))
    given = {key: value for key, value in settings.items() if key not in {"include", "exclude"}}
    return Budget(name, {**given, size: kind.sized(best)}, count(best), count(best) - parameters)
