"""The processes of one run, one or as many as torchrun started: the rank of this one, and all messages between them.

Each trains on its share of every batch; gradients are DDP's business. Where one process fails, the others end as well,
and one line says why.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # its documented place
from torch.distributed.distributed_c10d import PrefixStore

from refconv.errors import RefconvError, RunError
from refconv.named_code import resuming

PATIENCE = timedelta(minutes=30)  #: How long a process waits for the others, such as for a split that one evaluates
_PR_SET_PDEATHSIG = 1
_STORE_PATIENCE = timedelta(seconds=10)  #: How long one that has lost the others waits to learn why
_OF_MESSAGES = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""Words in the errors of messages that did not arrive; those of gloo are plain RuntimeErrors."""
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process, counted from 0, among those of the run."""

    rank: int
    world_size: int
    device: torch.device  # where this process computes
    control: dist.ProcessGroup | None = None  # for messages apart from the gradients; None if alone

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world_size == 1

    def sums(self, values: list[float]) -> list[float]:
        """Return each value summed over the processes, in float64."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def maxima(self, values: list[float]) -> list[float]:
        """Return the largest of each value over the processes, in float64."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def gathered(self, value: T) -> list[T]:
        """Return what each process gives, in the order of the processes; the values may differ in size."""
        if self.alone:
            return [value]
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return cast(list[T], values)

    def rows(self, own: Tensor) -> list[Tensor]:
        """Return what each process gives, tensors [n, ...] on its device, in the order of processes; n may differ."""
        counts = self.gathered(len(own))
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return [one[:count] for one, count in zip(found, counts, strict=True)]

    def _reduced(self, values: list[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
        if self.alone:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation, group=self.control)
        return [float(value) for value in tensor.tolist()]

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first; while training, batch norms keep those of their own share."""
        if self.alone:
            return
        persistent = set(model.state_dict(keep_vars=True))
        for name, buffer in model.named_buffers():
            if name in persistent:
                dist.broadcast(buffer, src=0)

    def agreed(self, error: RefconvError) -> BaseException:
        """Return what to raise for an error that all processes have met: the first says it, the others leave."""
        return error if self.first else SystemExit(2)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do something that may fail in some processes only; if one fails, all leave, and only the first says why."""
        error: RefconvError | None = None
        try:
            yield
        except RefconvError as raised:
            error = raised
        failing = int(self.maxima([self.world_size - self.rank if error else 0.0])[0])
        if failing and failing != self.world_size - self.rank:
            sys.exit(2)
        if error:
            raise error


@contextmanager
def joined(device: str | None) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes(0, 1, choose_device(device))
        return
    die_with_parent()
    chosen = choose_device(device, int(os.environ["LOCAL_RANK"]))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    owner = not dist.is_initialized()
    if owner:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(control, dist.ProcessGroup)  # a group of all has every process as member
    try:
        with _one_speaks(dist.get_rank()):
            yield Processes(dist.get_rank(), dist.get_world_size(), chosen, control)
    finally:
        if owner:
            dist.destroy_process_group()


@contextmanager
def _one_speaks(rank: int) -> Iterator[None]:
    """Let the process that fails say why, and others that therefore lose it end without a word.

    If it was killed and could not, one of the others says that it is gone. Who speaks is decided in the store, which
    torchrun holds. Without torchrun the first process holds it and takes it along when it ends. Then a folder of
    temporary files decides, where all are on one machine; else the second process speaks where the store is gone.

    Raises:
        RunError: in the one process that says so.
        SystemExit: in those that end without a word.
    """
    store = PrefixStore("refconv", dist.distributed_c10d._get_default_store())
    store.set_timeout(_STORE_PATIENCE)
    folder = _folder_of_all(store, rank)
    try:
        yield
    except BaseException as error:
        lost = _is_lost(error)
        try:
            mine = store.add("spoken", 1) == 1 if folder is None else _made(folder / "spoken")
        except (OSError, RuntimeError):  # the store is gone
            mine = rank == 1
        if not lost:
            raise
        if not mine:
            raise SystemExit(2) from None
        late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
        what, remedy = "ended without a word, as when it is killed", "look at the memory that all take together"
        if late:
            what = f"did not answer for {PATIENCE.total_seconds() / 60:g} minutes"
            remedy = "look at what it waits for, such as a disk"
        remedy += f"; the last checkpoint is kept: go on with {resuming()}"
        raise RunError(f"another process of the run {what}", where=f"process {rank}", remedy=remedy) from error
    finally:
        if folder is not None:
            _leave(folder, rank)


def _folder_of_all(store: PrefixStore, rank: int) -> Path | None:
    """Return a folder for all processes, if the first holds the store, which ends with it, and all are on one machine.

    The last that leaves removes it; only killed processes leave it behind.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return None
    count, here = store.add(f"joined/{rank}", 1), socket.gethostname()
    store.set(f"{count}/{rank}", here)
    if rank == 0:
        hosts = {store.get(f"{count}/{other}").decode() for other in range(dist.get_world_size())}
        store.set(f"{count}/folder", tempfile.mkdtemp(prefix="refconv-") if hosts == {here} else "")
    found = store.get(f"{count}/folder").decode()
    return Path(found) if found else None


@contextmanager
def said_once(words: str) -> Iterator[bool]:
    """Yield whether this process is the one to say words that other processes of torchrun may want to say as well.

    It is the first that asks in the store, which torchrun holds before the processes have joined. The others wait until
    the words are said, because torchrun stops all processes as soon as one has ended. Without such a store all speak.
    """
    store, mine, key = _agents_store(), True, hashlib.sha256(words.encode()).hexdigest()
    with suppress(RuntimeError):  # the store is gone
        mine = store is None or store.add(key, 1) == 1
        if store is not None and not mine:
            store.wait([f"{key}/said"], _STORE_PATIENCE)
    try:
        yield mine
    finally:
        if store is not None and mine:
            with suppress(RuntimeError):
                store.set(f"{key}/said", "")


def _agents_store() -> PrefixStore | None:
    """Return the store that torchrun holds, for this start of its processes; None where there is none."""
    known = os.environ
    if int(known.get("WORLD_SIZE", "1")) == 1 or known.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        store = TCPStore(known["MASTER_ADDR"], int(known["MASTER_PORT"]), timeout=_STORE_PATIENCE)
    except RuntimeError:
        return None
    return PrefixStore(f"refconv/said/{known.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _made(file: Path) -> bool:
    """Make a file; return whether it was not there, and so this process is the first that makes it."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _leave(folder: Path, rank: int) -> None:
    """Note that a process leaves, and remove the folder behind the last one."""
    with suppress(OSError):
        (folder / str(rank)).touch()
        if all((folder / str(other)).exists() for other in range(dist.get_world_size())):
            shutil.rmtree(folder, ignore_errors=True)


def _is_lost(error: BaseException) -> bool:
    """Say whether an error is that of a message between processes that did not arrive."""
    if isinstance(error, RefconvError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_MESSAGES)


def choose_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of a name such as ``cuda:1``; by default this process's accelerator, else the CPU."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        expected = "cpu, cuda, cuda:N or mps"
        raise RunError("unknown device", where="device", expected=expected, found=repr(name)) from error
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if not torch.cuda.is_available() or device.index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            known = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
            raise RunError("no such device here", where="device", expected=known, found=str(device))
    if device.type not in {"cpu", "cuda"} and not _works_here(device.type):
        raise RunError("no such device here", where="device", found=str(device), remedy="use cpu")
    return device


def _works_here(kind: str) -> bool:
    """Return whether devices of a kind other than the CPU exist here; ``meta`` and its like compute nothing."""
    try:
        return bool(torch.get_device_module(kind).is_available())
    except (AttributeError, RuntimeError):
        return False


def die_with_parent() -> None:
    """Let the kernel kill this process when torchrun dies, so that no orphan keeps training (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or parent == 1:  # it died before the call above
            os.kill(os.getpid(), signal.SIGKILL)
