"""Runs of a study executed: started, resumed or found finished, in this process or in several beside one another."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import torch

from refconv.engine.loop import train
from refconv.engine.run_record import RunRecord
from refconv.errors import RefconvError, RunError, StudyError, TrainingError
from refconv.models.run_folder import RunFolder, write_whole
from refconv.process.interruption import StoppedError
from refconv.recipe.recipe import Recipe
from refconv.studies.runs import Run

_DEVICES = "CUDA_VISIBLE_DEVICES"
DIVERGED_FILE = "diverged.txt"
"""In the folder of a selection run whose loss was not finite: why. Such a run is over, and its settings are out."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with the error if there was one."""

    state: Literal["finished", "diverged", "failed", "stopped"]
    message: str = ""


def is_over(run: Run) -> bool:
    """Return whether a run finished, or diverged while settings were chosen; a folder of other settings is refused."""
    over = RunFolder(run.folder).record_file.is_file() or (run.folder / DIVERGED_FILE).is_file()
    if over:
        _check_same(run)
    return over


def has_weights(folder: Path) -> bool:
    """Return whether the result of a finished run is still in its folder."""
    return RunFolder(folder).model_folder.is_dir()


def record_of(run: Run) -> RunRecord | None:
    """Return the record of a run; None if it diverged or has not finished."""
    path = RunFolder(run.folder).record_file
    if not path.is_file():
        return None
    try:
        return RunRecord.read(path)
    except (OSError, ValueError, TypeError) as error:
        remedy = "remove the folder to run it again"
        raise RunError("cannot read the record", where=str(path), found=str(error), remedy=remedy) from error


def execute(run: Run, keep: str) -> Outcome:
    """Train until the run is over, is stopped, or fails; ``keep`` as in :class:`refconv.studies.study.Study`."""
    folder = RunFolder(run.folder)
    started, finished = folder.checkpoint_file.is_file(), folder.record_file.is_file()
    try:
        # Killed before its first checkpoint, a run left its recipe and an empty file of metrics. A base that is known
        # from a journal left a record, and now its weights are needed.
        killed = folder.recipe_file.is_file() and not started and not finished
        if killed or (run.kind == "base" and finished and not has_weights(run.folder)):
            shutil.rmtree(folder.path)
        resume = folder.checkpoint_file.is_file()
        train(_check_same(run) if resume else run.recipe, run.folder, resume=resume, show=False)
    except StoppedError as error:
        return Outcome("stopped", str(error))
    except TrainingError as error:
        if run.kind != "selection":
            return Outcome("failed", str(error))
        write_whole(run.folder / DIVERGED_FILE, f"{error}\n".encode())
        _remove(folder, models=True)
        return Outcome("diverged", str(error))
    except RefconvError as error:
        return Outcome("failed", str(error))
    except torch.OutOfMemoryError as error:
        return Outcome("failed", f"{run.folder}: out of memory; found {str(error).splitlines()[0]}")
    if keep != "all":
        _remove(folder, models=run.kind == "selection" or (run.kind == "final" and keep == "records"))
    return Outcome("finished")


def _check_same(run: Run) -> Recipe:
    """Return the recipe of a run's folder, if it is the wanted one; a base trained here may have moved since."""
    before = RunFolder(run.folder).recipe()
    now = before if run.base is None else dataclasses.replace(before, checkpoint=run.recipe.checkpoint)
    if names := now.differences(run.recipe):
        expected, found = (", ".join(f"{name}={getattr(one, name)!r}" for name in names) for one in (run.recipe, now))
        what, remedy = "the folder holds a run with other settings", "give another --out, or remove the folder"
        raise StudyError(what, where=str(run.folder), expected=expected, found=found, remedy=remedy)
    return before


def _remove(folder: RunFolder, *, models: bool) -> None:
    folder.checkpoint_file.unlink(missing_ok=True)
    if models and folder.model_folder.is_dir():
        shutil.rmtree(folder.model_folder)


class SerialExecutor(nullcontext[None]):
    """One run at a time, in this process; ``keep`` as in :class:`refconv.studies.study.Study`."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self._keep = keep
        self._run: Run | None = None

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""
        return self._run is None

    def start(self, run: Run) -> None:
        """Take a run; it is executed by :meth:`wait`."""
        self._run = run

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Execute the run, however long that takes."""
        assert self._run is not None  # nobody waits for nothing
        run, self._run = self._run, None
        return [(run, execute(run, self._keep))]


@dataclass
class _Place:
    """One process and what it does."""

    process: BaseProcess
    connection: Connection
    device: str | None
    run: Run | None = None


class ProcessExecutor:
    """Several processes, each of which executes one run after the other.

    They are started anew, not forked, because neither threads nor an accelerator survive a fork. A process that dies
    fails its run alone. The devices, as ``CUDA_VISIBLE_DEVICES`` names them, are shared out; there are none on the CPU.
    """

    def __init__(self, jobs: int, threads: int, keep: str, devices: Sequence[str] = ()) -> None:
        self._threads, self._keep = threads, keep
        self._devices = [devices[i % len(devices)] if devices else None for i in range(jobs)]
        self._places: list[_Place] = []

    def __enter__(self) -> ProcessExecutor:
        self._places = [self._begin(device) for device in self._devices]
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            place.process.terminate()  # a run in its loop writes a checkpoint first
        for place in self._places:
            place.process.join()
            place.connection.close()

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""
        return any(place.run is None for place in self._places)

    def start(self, run: Run) -> None:
        """Give a run to a process that has nothing to do."""
        place = next(place for place in self._places if place.run is None)
        place.run = run
        place.connection.send(run)

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Wait for so many seconds at most until runs have ended, and return them; a dead process is replaced."""
        busy = {place.connection: place for place in self._places if place.run is not None}
        return [self._ended(busy[connection]) for connection in wait(list(busy), seconds) if connection in busy]

    def _ended(self, place: _Place) -> tuple[Run, Outcome]:
        assert place.run is not None  # only those that are busy are waited for
        run, place.run = place.run, None
        try:
            return run, place.connection.recv()
        except (EOFError, ConnectionResetError):
            place.process.join()
            place.connection.close()
            self._places[self._places.index(place)] = self._begin(place.device)
            return run, Outcome("failed", f"{run.folder}: its process {_how(place.process.exitcode)}")

    def _begin(self, device: str | None) -> _Place:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._threads, self._keep)
        )  # not daemonic: a run may have data workers
        with _visible(device):
            process.start()
        theirs.close()
        return _Place(process, ours, device)


Workers = SerialExecutor | ProcessExecutor


def visible_devices() -> list[str]:
    """Return the CUDA devices of this process, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


def _work(connection: Connection, threads: int, keep: str) -> None:
    """Execute the runs that come through a connection, until it is closed."""
    # The terminal sends Ctrl-C to all processes; only the first one decides, and it sends the terminating signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    while True:
        try:
            run: Run = connection.recv()
        except EOFError:
            return
        outcome = execute(run, keep)
        connection.send(outcome)
        if outcome.state == "stopped":  # by the terminating signal, which is for the process and not for one run
            return


def _end_with_parent() -> None:
    """Stop this process, with a checkpoint if it is in its loop, when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process that multiprocessing started
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _visible(device: str | None) -> Iterator[None]:
    """Let processes that are started in the block see one device only; all that this one sees for None."""
    before = os.environ.get(_DEVICES)
    if device is not None:
        os.environ[_DEVICES] = device
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DEVICES] = before
        elif device is not None:
            del os.environ[_DEVICES]


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}" + (", probably out of memory" if status == -9 else "")
    return f"ended with status {status}; its message is above"
