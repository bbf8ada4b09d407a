"""Samples made by worker processes, in the order that is asked for; what goes wrong in a worker is said in one line.

Note [Workers and errors]: torch's loader tells its workers to end when its iterator is deleted. If only the collector
of cycles finds the iterator, the queues to the workers may be closed before, the workers hear nothing, and deleting
takes five seconds for each. An error refers to the frames that it passed, so that a frame here neither keeps the error
that it raises, which would be a cycle, nor the iterator, which would live as long as the error.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.pin_memory import pin_memory

from refconv.errors import DataError, RefconvWarning
from refconv.process.workers import GUARD, leave_if_imported, prepare_worker, signals_held_back, worker_context

PATIENCE = timedelta(minutes=30)  #: How long a batch is waited for
_LISTENED = 5  # seconds, after which torch looks whether a worker has died; while a machine sleeps they stand still


class SampleSource(Protocol):
    """Samples by index; picklable, as worker processes get a copy.

    A sample is a function of its index and of what the object holds, such as seed and epoch, and asks no generator
    that others have used.
    """

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""


def load_batches(
    samples: SampleSource, batches: Sequence[Tensor], *, workers: int, collate: Callable[[list[Any]], Any]
) -> Iterator[Any]:
    """Yield batches of samples, made ahead of time by worker processes; 0 makes them in this one.

    In a block of :func:`workers_kept` the workers of the last call serve this one too.
    """
    kept = _KEPT.get()
    if kept is not None and workers and len(batches):
        pool = kept.of(workers)
        if not pool.busy:
            yield from pool.load(samples, batches, collate)
            return
    loader = DataLoader(
        _Guarded(samples),
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=min(workers, len(batches)),
        collate_fn=_Collate(collate, packs=workers > 0),
        multiprocessing_context=worker_context() if workers and len(batches) else None,
        worker_init_fn=prepare_worker,
        timeout=_LISTENED if workers and len(batches) else 0,
        # Its own generator: the loader draws a number at every start, and that must not come from the global one.
        generator=torch.Generator(),
    )
    leave_if_imported()
    with signals_held_back():
        loaded = iter(loader)
    try:
        for batch in map(_unpacked, _explained(loaded)):
            if isinstance(batch, DataError):
                raise batch
            yield batch
    finally:
        del loaded
        batch = None  # see Note [Workers and errors]


@contextmanager
def workers_kept(device: torch.device | None = None) -> Iterator[None]:
    """Let workers that were started once serve every split and epoch that is loaded in this block.

    Batches are the same as without: a sample is a function of its index and of what its source holds, whoever makes it.
    For an accelerator they are put into pinned memory, from where they are copied while it computes.
    """
    if _KEPT.get() is not None:
        yield
        return
    kept = _Kept(pins=device is not None and device.type == "cuda")
    before = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(before)
        for pool in kept.pools.values():
            pool.end()


class _Kept:
    """The workers of a block, by their number."""

    def __init__(self, *, pins: bool) -> None:
        self.pins = pins
        self.pools: dict[int, _Pool] = {}

    def of(self, workers: int) -> _Pool:
        """Return the workers of this number; they are started when they are first needed."""
        if self.pools.get(workers) is None or self.pools[workers].broken:
            self.pools[workers] = _Pool(workers, pins=self.pins)
        return self.pools[workers]


_KEPT: ContextVar[_Kept | None] = ContextVar("workers that are kept", default=None)


@dataclasses.dataclass(frozen=True)
class _Order:
    """A batch that a worker is to make."""

    indices: list[int]
    source: int  # number of the samples' source
    content: bytes | None  # the source and what collates, if this worker has not got them yet
    changes: dict[str, Any]  # fields of the source that have other values now, such as the epoch
    live: tuple[int, ...]  # the numbers of all sources that are still asked for


class _Pool:
    """Workers that make whatever batches they are told to, of sources that each of them is sent once."""

    _MOST = 6  #: Sources that workers hold, such as those of the splits

    def __init__(self, workers: int, *, pins: bool) -> None:
        self._workers = workers
        self._orders = _Orders()
        self._loader = DataLoader(
            _Served(),
            batch_sampler=self._orders,
            num_workers=workers,
            collate_fn=_alone,
            multiprocessing_context=worker_context(),
            worker_init_fn=prepare_worker,
            timeout=_LISTENED,
            generator=torch.Generator(),
            persistent_workers=True,
            pin_memory=pins,
        )
        self._sources: dict[int, _Source] = {}
        self._count = 0
        self._rest: Iterator[Any] | None = None  # what a caller left, if it did not take everything
        self.busy = self.broken = False

    def load(
        self, samples: SampleSource, batches: Sequence[Tensor], collate: Callable[[list[Any]], Any]
    ) -> Iterator[Any]:
        """Yield batches as :func:`load_batches` does."""
        self._take_rest()
        number, changes = self._number_of(samples, collate)
        self._orders.start(self._orders_for(number, changes, batches))
        leave_if_imported()
        self.busy = self.broken = True  # broken until a batch has come, and again while the next one is waited for
        try:
            with signals_held_back():
                self._rest = iter(self._loader)
            for count, batch in enumerate(map(_unpacked, _explained(self._rest)), start=1):
                self.broken = False
                if isinstance(batch, DataError):
                    raise batch
                if count == len(batches):
                    self._rest, self.busy = None, False  # free for the next split before the caller is done with this
                yield batch
                self.broken = count < len(batches)
        finally:
            self.busy = False
            batch = None  # see Note [Workers and errors]

    def end(self) -> None:
        """Let go of the workers, which end; nothing is loaded afterwards."""
        self.broken, self._rest = True, None
        del self._loader

    def _take_rest(self) -> None:
        """Take what a caller left: the workers have made it, and it lies in shared memory until it is unpacked."""
        if self._rest is not None:
            self._orders.stop()
            self.broken = True
            for batch in _explained(self._rest):
                _unpacked(batch)
            self._rest, self.broken = None, False

    def _number_of(self, samples: SampleSource, collate: Callable[[list[Any]], Any]) -> tuple[int, dict[str, Any]]:
        """Return the number of a source, and the values of its fields that are sent with each order."""
        changes, key = _parts(samples)
        found = next((number for number, one in self._sources.items() if one.is_of(key, collate)), None)
        if found is None:
            if len(self._sources) == self._MOST:
                del self._sources[min(self._sources)]
            found, self._count = self._count, self._count + 1
            self._sources[found] = _Source(samples, collate, key)
        return found, changes

    def _orders_for(self, number: int, changes: dict[str, Any], batches: Sequence[Tensor]) -> Iterator[_Order]:
        """Yield the orders; torch gives the first ones of an iteration to its workers in turn."""
        source, live = self._sources[number], tuple(self._sources)
        for place, batch in enumerate(batches):
            content = None
            if place < self._workers and place not in source.sent:
                content = pickle.dumps((source.samples, source.collate))
                source.sent.add(place)
            yield _Order(batch.tolist(), number, content, changes, live)


class _Orders:
    """The orders of one iteration, as torch's loader asks for them; it stops where nobody wants the rest."""

    def __init__(self) -> None:
        self._orders: Iterator[_Order] = iter(())

    def start(self, orders: Iterator[_Order]) -> None:
        """Begin with these."""
        self._orders = orders

    def stop(self) -> None:
        """Give no more."""
        self._orders = iter(())

    def __iter__(self) -> Iterator[list[_Order]]:
        while (order := next(self._orders, None)) is not None:
            yield [order]


@dataclasses.dataclass
class _Source:
    """Samples as workers hold them."""

    samples: SampleSource
    collate: Callable[[list[Any]], Any]
    key: tuple[Any, ...]  # held by ``samples``, so that no other object takes their identities
    sent: set[int] = dataclasses.field(default_factory=set)  # the workers that have them

    def is_of(self, key: tuple[Any, ...], collate: Callable[[list[Any]], Any]) -> bool:
        """Return whether these are the samples, but for what is sent with each order."""
        return self.collate == collate and self.key == key


class _Served(Dataset[Any]):
    """What is in a worker that is kept: the sources that it was sent."""

    def __init__(self) -> None:
        self._sources: dict[int, Any] = {}

    def __getitems__(self, orders: list[_Order]) -> list[Any]:
        """Make the batch of an order."""
        (order,) = orders
        if order.content is not None:
            self._sources = {number: self._sources[number] for number in self._sources if number in order.live}
            self._sources[order.source] = pickle.loads(order.content)  # this program sent it
        samples, collate = self._sources[order.source]
        if order.changes:
            samples = dataclasses.replace(samples, **order.changes)
        guarded = _Guarded(samples)
        return [_Collate(collate, packs=True)([guarded[index] for index in order.indices])]


def _alone(batches: list[Any]) -> Any:
    (batch,) = batches
    return batch


def _parts(samples: Any) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return the plain values among the fields of a source, such as the epoch, and what tells the rest from others."""
    if not dataclasses.is_dataclass(samples):
        return {}, (type(samples), id(samples))
    fields = {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples) if field.init}
    plain = {name: value for name, value in fields.items() if _is_plain(value)}
    return plain, (type(samples), *((name, id(value)) for name, value in fields.items() if name not in plain))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) < 9 and all(_is_plain(one) for one in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _explained(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches, and say in one line if a worker died or gives nothing any more."""
    waited = 0
    try:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader timed out" in str(error):
                    waited += _LISTENED
                    if waited < PATIENCE.total_seconds():
                        continue
                    raise _hangs() from error
                if "DataLoader worker" not in str(error):
                    raise
                raise _died(error) from error
            waited = 0
            yield batch
            batch = None  # see Note [Workers and errors]
    finally:
        del batches


def _hangs() -> DataError:
    what = f"no worker gave a sample for {PATIENCE.total_seconds() / 60:g} minutes"
    return DataError(what, where="workers", remedy="find what the samples wait for, such as a disk or a lock")


def _died(error: Exception) -> DataError:
    remedy = "give it more memory (in a container also /dev/shm), or use fewer workers, 0 uses none; in a script, "
    return DataError("a data worker died", where="workers", found=str(error), remedy=remedy + GUARD)


@dataclasses.dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Returns a :class:`DataError` in place of a sample: raised in a worker, torch would bury it in a traceback."""

    samples: SampleSource

    def __getitem__(self, index: int) -> Any:
        try:
            return self.samples[index]
        except DataError as error:
            return error


@dataclasses.dataclass(frozen=True)
class _Packed:
    """A batch on its way from a worker: pickled, its tensors in shared memory or, where that is full, inside."""

    content: bytes
    shared: bool

    def pin_memory(self) -> Any:
        """Return the batch in pinned memory; a thread of the loader calls this ahead of time."""
        return pin_memory(_unpacked(self))


@dataclasses.dataclass(frozen=True)
class _Collate:
    """Makes a batch, and in a worker packs it there and then.

    The loader would move tensors to shared memory in a thread of its own, whose errors are lost: the main process
    would wait for the batch for ever. Containers have 64 MB of that memory, as a rule.
    """

    collate: Callable[[list[Any]], Any]
    packs: bool

    def __call__(self, samples: list[Any]) -> Any:
        unreadable = next((sample for sample in samples if isinstance(sample, DataError)), None)
        batch = self.collate(samples) if unreadable is None else unreadable
        if not self.packs:
            return batch
        try:
            return _Packed(bytes(ForkingPickler.dumps(batch)), shared=True)
        except RuntimeError:
            return _Packed(pickle.dumps(batch), shared=False)


def _unpacked(batch: Any) -> Any:
    """Return a batch as it was made."""
    if not isinstance(batch, _Packed):
        return batch
    if not batch.shared:
        what = "the shared memory of this machine is full, so data workers send copies, which takes longer"
        remedy = "give a container more of it, such as docker run --shm-size=2g, or use fewer workers"
        warnings.warn(f"workers: {what}; {remedy}", RefconvWarning, stacklevel=3)
    try:
        return pickle.loads(batch.content)  # a worker of this process made it
    except (EOFError, OSError) as error:  # it died before it handed over the shared memory of the batch
        raise _died(error) from error
