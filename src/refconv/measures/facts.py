"""What ``pair.json`` says: which two models were analysed, on which data, what was measured and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from refconv.records import Record

FACTS_FILE = "pair.json"  #: The file of an analysis that says what was analysed; written last
Self = TypeVar("Self", bound="_Excerpt")


class _Excerpt(Record):
    """Some of the fields of a longer record; the others are passed over."""

    @classmethod
    def from_dict(cls: type[Self], data: dict[str, Any]) -> Self:
        known = {one.name for one in fields(cls)}
        return super().from_dict({name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class CertificateFacts(_Excerpt):
    """What a report reads of :class:`refconv.surgery.Certificate`."""

    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    reordered: bool
    shapes: tuple[str, ...]
    dtypes: tuple[str, ...]
    flags: tuple[str, ...]
    classes: tuple[str, ...]
    kernels: int
    largest_kernel_difference: float
    relative_output_difference: float | None
    tolerance: float
    top1_agreement: float | None
    batch: int | None
    values: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()


@dataclass(frozen=True)
class CourseFacts(_Excerpt):
    """The task's first measure at the start and the end of training, as :class:`refconv.engine.run_record.Course`."""

    measure: str
    split: str
    samples: int
    start: float
    end: float | None = None


@dataclass(frozen=True)
class RunFacts(_Excerpt):
    """What a report reads of :class:`refconv.engine.run_record.RunRecord`."""

    data: str
    method: str
    seed: int
    test_samples: int
    epochs: int
    steps: int
    samples_seen: int
    parameters_trained: int
    extra_parameters: int
    sites: int
    seconds: float
    hardware: str
    command: str
    certificate: CertificateFacts
    top1: float | None = None
    space: str | None = None
    measures: dict[str, float] = field(default_factory=dict)
    course: CourseFacts | None = None
    definitions: dict[str, str] = field(default_factory=dict)

    def measure(self, name: str) -> float | None:
        """Return what was measured on the test split; None if it was not."""
        return self.top1 if name == "top1" else self.measures.get(name)


@dataclass(frozen=True)
class SideFacts(Record):
    """One of two models: what the user named it by, how and in which space its run trained it, if it comes from one.

    `run` is the whole record of the run as JSON, if it has finished; parameters and fingerprint (SHA-256) are those of
    the plain model.
    """

    reference: str = ""
    method: str | None = None
    space: str | None = None
    run: dict[str, Any] | None = None
    parameters: int = 0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        _ = self.training  # a damaged record is refused here

    @cached_property
    def training(self) -> RunFacts | None:
        """What the record of its run says of the training."""
        return None if self.run is None else RunFacts.from_dict(self.run)

    @property
    def trained_by(self) -> str | None:
        """The method that trained it, also where the run alone says it."""
        return self.method or (self.training.method if self.training else None)


@dataclass(frozen=True)
class DataFacts(Record):
    """The data that two models were measured on, with the bounds of a measure; None is its own, or no bound.

    `flags` are what the user said about how images become tensors, by setting; `root` is the folder that data sets with
    a name lie in, and `class_map` the file that says which output each class belongs to.
    """

    name: str
    split: str
    max_samples: int | None = None
    max_seconds: float | None = None
    flags: dict[str, str] = field(default_factory=dict)
    root: str | None = None
    class_map: str | None = None


@dataclass(frozen=True)
class PairFacts(Record):
    """What was analysed, and how."""

    before: SideFacts
    after: SideFacts
    model: str = ""
    task: str = "classification"
    class_names: tuple[str, ...] = ()
    data: DataFacts | None = None  #: what both models were measured on; None where weights alone were
    measured: dict[str, float] = field(default_factory=dict)  #: seconds of each measure, for both models together
    left_out: dict[str, str] = field(default_factory=dict)  #: measures that could not be taken, with the reason
    samples: dict[str, int] = field(default_factory=dict)  #: how many samples each measure with data took
    include: tuple[str, ...] = ()  #: patterns of layers that measures of weights looked at; empty for all
    exclude: tuple[str, ...] = ()
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    images: str = ""  #: how the samples became tensors, in words; empty where no measure took any
    cues: str = ""  #: the folder of images of two cues; empty where there was none
    data_digest: str = ""  #: SHA-256 of the facts about the data and a few samples; empty where no measure took any

    @property
    def belonging(self) -> tuple[Any, ...]:
        """What records must have in common to stand in one analysis: weights, version, data, bounds, layers."""
        version = self.versions.get("refconv")
        weights = self.before.fingerprint, self.after.fingerprint
        return (*weights, version, self.data, self.include, self.exclude, self.cues)

    def continues(self, earlier: PairFacts) -> bool:
        """Whether these are the facts of an earlier analysis with more measures."""
        same = self.belonging == earlier.belonging and earlier.data_digest in {"", self.data_digest}
        return same and earlier.measured.items() <= self.measured.items()
