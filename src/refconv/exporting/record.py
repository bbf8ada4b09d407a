"""What an export wrote, and what running the file in its own runtime showed."""

from __future__ import annotations

from dataclasses import dataclass

from refconv.data.preprocessing import GUESSED
from refconv.records import Record
from refconv.task_measures import measures_of

MOST_LOST = 0.02
"""What quantisation may cost of a measure that is a share, before the export counts as failed."""


@dataclass(frozen=True)
class Accuracy(Record):
    """The task's first measure of the file before quantisation and after it, both in onnxruntime."""

    measure: str
    before: float
    after: float
    samples: int
    calibrated_on: str  #: how many images of which split, and how often each was seen
    #: bounds of the 95 % interval of the change, Newcombe's of paired shares; None in tasks other than classification
    low: float | None = None
    high: float | None = None

    def said(self, task: str) -> str:
        """Return the line of a report."""
        measure = measures_of(task).primary
        change = f"{measure.said(self.before)} in float32, {measure.said(self.after)} in int8"
        if self.low is not None and self.high is not None:
            low, high = (measure.shown(value, signed=True) for value in (self.low, self.high))
            change += f", {measure.shown(self.after - self.before, signed=True)}{measure.unit} ({low} to {high})"
        return f"{measure.label} {change} ({self.samples:,} test samples; calibrated on {self.calibrated_on})"

    @property
    def kept(self) -> bool:
        """Whether quantisation cost no more than :data:`MOST_LOST`, or that share of a measure that is no share."""
        scale = 1.0 if 0 <= self.before <= 1 else abs(self.before)
        return self.before - self.after <= MOST_LOST * scale


@dataclass(frozen=True)
class ExportRecord(Record):
    """An exported file and its check; ``print(record)`` is the report."""

    file: str
    format: str
    task: str
    architecture: str
    precision: str  #: float32, float16 or int8
    bytes: int  #: of all files together
    files: tuple[str, ...]
    opset: int | None  #: version of ONNX's operators; None for other formats
    takes: str  #: type and shape of the input ``images``
    gives: tuple[str, ...]  #: names of the outputs
    left_outside: str  #: what is to be done to a picture before it is given to the file
    runtime: str  #: with its version
    operations: dict[str, int]  #: number of operations of each kind, before quantisation
    #: the same of the network as its builder makes it, with other weights
    unrefocused: dict[str, int]
    checked_on: str  #: images of a data set, or generated input
    samples: int
    #: of an output of the file from that of the network in torch; None where it is infinite
    largest_difference: float | None
    relative_difference: float | None  #: the same over the largest entry of that output
    tolerance: float | None  #: relative difference up to which outputs count as equal; None for int8
    top1_agreement: float | None  #: share of samples, or of pixels, with the same largest logit
    unlike: tuple[str, ...] = ()  #: outputs whose place, shape or kind differs
    accuracy: Accuracy | None = None  #: of a quantised file
    guesses: tuple[str, ...] = ()  #: values of the preprocessing that nobody said
    pushed_to: str = ""  #: address on the hub that a folder was sent to

    @property
    def same_graph(self) -> bool:
        """Whether no operation is in the file more often than in that of the unrefocused network.

        Exporters leave out operations without effect, such as adding zeros.
        """
        return all(count <= self.unrefocused.get(kind, 0) for kind, count in self.operations.items())

    @property
    def same_outputs(self) -> bool:
        """Whether the file computes what the network computes, up to rounding, or after quantisation as well."""
        if self.accuracy is not None:
            return self.accuracy.kept
        if self.unlike or self.tolerance is None or self.relative_difference is None:
            return False
        return self.relative_difference <= self.tolerance

    @property
    def holds(self) -> bool:
        """Whether both are so; ``refconv export`` ends with the exit status 3 otherwise."""
        return self.same_graph and self.same_outputs

    def __str__(self) -> str:
        count, other = sum(self.operations.values()), sum(self.unrefocused.values())
        graph = "the same as" if self.operations == self.unrefocused else f"{other - count} fewer than"
        graph = graph if self.same_graph else f"NOT those of ({other} there)"
        kinds = {*self.operations, *self.unrefocused}
        apart = [kind for kind in sorted(kinds) if self.operations.get(kind, 0) != self.unrefocused.get(kind, 0)]
        noun = "layers" if self.format == "hub" else "operations"
        opset = f", opset {self.opset}" if self.opset else ""
        tolerance = "" if self.tolerance is None else f" (tolerance {self.tolerance:.2g})"
        words = "equal" if self.same_outputs else "DIFFERENT"
        if self.accuracy is not None:
            words = "quantised" if self.same_outputs else "quantised, and the accuracy is NOT kept"
        lines = [
            f"{self.file}: {self.architecture} as {self.format}, {self.precision}{opset}, {self.bytes / 2**20:.2f} MB",
            f"images     {self.takes}; {self.left_outside}",
            *([f"warning    {', '.join(self.guesses)}: {GUESSED}"] if self.guesses else []),
            f"outputs    {', '.join(self.gives)}",
            f"{noun:<10} {count}, {graph} the unrefocused network{': ' + ', '.join(apart) if apart else ''}",
            f"checked    in {self.runtime}, on {self.checked_on}",
            f"  outputs  {words}: largest difference {_said(self.largest_difference)}, relative "
            f"{_said(self.relative_difference)}{tolerance}",
        ]
        lines += [f"  unlike   {entry}" for entry in self.unlike[:5]]
        if self.top1_agreement is not None:
            lines.append(f"  top-1    agrees on {self.top1_agreement:.2%}")
        if self.accuracy is not None:
            lines.append(f"  accuracy {self.accuracy.said(self.task)}")
        lines += [f"pushed     {self.pushed_to}"] if self.pushed_to else []
        if self.format == "hub" and not self.holds:
            how = "in Python give the arguments that the network was built with by model_kwargs"
            lines.append(f"removed    the folder, because it builds another network; {how}")
        return "\n".join(lines)


def _said(difference: float | None) -> str:
    return "infinite" if difference is None else f"{difference:.3g}"
