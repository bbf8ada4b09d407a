"""Runs executed on other machines, whatever brings them there: what is given out, and what becomes of it.

The machines share the folders of the command: results, checkpoints and permits go through files. Beside the folder of a
run that is given out lies its permit, ``.NAME.permit``. A machine works on the run as long as the permit is there and
carries the number that the machine was given; so a run is stopped by taking the permit away, and a machine that was
believed lost stops when its run has been given to another one. That one waits for the lock of the run's folder, and
goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refconv.errors import RunError
from refconv.models.run_folder import RunFolder, locked, write_whole
from refconv.named_code import inherit, trusted
from refconv.process.interruption import PATIENCE
from refconv.studies.local import ProcessExecutor
from refconv.studies.outcome import Outcome
from refconv.studies.runs import Run

_BETWEEN_LOOKS = 1.0  #: Seconds between two looks at the permit
_GRACE = PATIENCE + 50.0  #: Seconds that runs have to write checkpoints after Ctrl-C
_LOCK_PATIENCE = 600.0  #: Seconds that a run waits for the machine that had it before
_TRIES = 3  #: How often a run is given out without a new checkpoint


def permit_of(folder: Path) -> Path:
    """Return the file that allows a machine to work on a run."""
    return folder.with_name(f".{folder.name}.permit")


def taken_of(folder: Path) -> Path:
    """Return the file in which a machine says that it has begun with a run."""
    return folder.with_name(f".{folder.name}.taken")


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Errand:
    """A run with all that another machine needs to execute it as this one would; called there."""

    run: Run
    keep: str
    threads: int
    number: str
    directory: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(map(os.path.abspath, sys.path)))
    command: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))  # for the record
    trusted: frozenset[str] = field(default_factory=trusted)  # what the user named or trusts

    def __call__(self) -> Outcome:
        """Execute the run in a process of its own, until it is over or its permit is gone."""
        try:
            os.chdir(self.directory)
            permit_of(self.run.folder).parent.stat()
        except OSError as error:
            what = f"{error.filename}: not there on {socket.gethostname()}"
            return Outcome("failed", f"{what}; all machines need the working directory and --out at the same place")
        sys.path[:] = [*self.path, *(one for one in sys.path if one not in self.path)]
        sys.argv[:] = self.command
        inherit(self.trusted)
        if not self._permitted():
            return Outcome("stopped", "its permit is gone")
        write_whole(taken_of(self.run.folder), f"{self.number}\n{socket.gethostname()}\n".encode())
        if (busy := self._busy()) is not None:
            return busy
        with ProcessExecutor(1, self.threads, self.keep) as workers:
            _working.append(workers)
            try:
                workers.start(self.run)
                while self._permitted():
                    for _, outcome in workers.wait(_BETWEEN_LOOKS):
                        return outcome
            finally:
                _working.remove(workers)
        return Outcome("stopped", "its permit is gone")

    def checkpoint(self) -> Any:
        """Stop the run with a checkpoint, to go on with it later; submitit calls this before a time limit."""
        from submitit.helpers import DelayedSubmission

        for workers in _working:
            workers.__exit__()
        return DelayedSubmission(self)

    def _permitted(self) -> bool:
        try:
            return _first_line(permit_of(self.run.folder)) == self.number
        except OSError:  # a file system that does not answer takes nothing away
            return True

    def _busy(self) -> Outcome | None:
        """Wait until nobody else holds the run's folder."""
        if not self.run.folder.is_dir():
            return None
        until = time.monotonic() + _LOCK_PATIENCE
        while self._permitted():
            try:
                with locked(self.run.folder, "run folder"):
                    return None
            except RunError as error:
                if time.monotonic() > until:
                    return Outcome("failed", str(error))
            time.sleep(_BETWEEN_LOOKS)
        return Outcome("stopped", "its permit is gone")


_working: list[ProcessExecutor] = []  #: What executes the run of this process


@dataclass
class _Given:
    """A run that is given out."""

    run: Run
    number: str
    handle: Any
    tries: int  # since the last checkpoint
    checkpoint: int | None  # when it was written, in ns; None if there is none


class RemoteExecutor(ABC):
    """Gives runs out, so many at a time, and takes back how they ended.

    A run that was stopped though nobody asked, since its machine was lost or taken away, is given out again, and
    fails if that happens three times without a new checkpoint. Leaving stops all runs with checkpoints.
    """

    def __init__(self, threads: int, keep: str) -> None:
        self._threads, self._keep = threads, keep
        self._waiting: list[tuple[Run, int, int | None]] = []
        self._given: list[_Given] = []

    @property
    @abstractmethod
    def slots(self) -> int:
        """Runs at a time."""

    @abstractmethod
    def submit(self, errands: Sequence[Errand]) -> list[Any]:
        """Give some runs out, and return a handle of each."""

    @abstractmethod
    def ended(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for so many seconds at most until some of the handles have ended, and return those."""

    @abstractmethod
    def outcome(self, handle: Any) -> Outcome:
        """Return how a run ended; ``stopped`` if its machine was lost or taken away."""

    @abstractmethod
    def cancel(self, handle: Any) -> None:
        """Take a run back that has not begun, or does not stop."""

    def __enter__(self) -> RemoteExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        for given in self._given:
            permit_of(given.run.folder).unlink(missing_ok=True)
        working = {
            id(given.handle): given for given in self._given if _first_line(taken_of(given.run.folder)) == given.number
        }
        for given in self._given:
            if id(given.handle) not in working:
                self.cancel(given.handle)
        until = time.monotonic() + _GRACE
        while working and time.monotonic() < until:
            for handle in self.ended([given.handle for given in working.values()], _BETWEEN_LOOKS):
                working.pop(id(handle), None)
        for given in working.values():
            self.cancel(given.handle)
        for given in self._given:
            taken_of(given.run.folder).unlink(missing_ok=True)
        self._given.clear()

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""
        return len(self._given) + len(self._waiting) < self.slots

    def start(self, run: Run) -> None:
        """Take a run; it is given out by the next :meth:`wait`, together with others."""
        self._waiting.append((run, 1, _written(run)))

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Wait for so many seconds at most until runs have ended, and return them."""
        self._give()
        over = []
        for handle in self.ended([given.handle for given in self._given], seconds):
            given = next(given for given in self._given if given.handle is handle)
            self._given.remove(given)
            outcome = self.outcome(handle)
            if outcome.state == "stopped":
                last = _written(given.run)
                tries = given.tries + 1 if last == given.checkpoint else 1
                if tries <= _TRIES:
                    self._waiting.append((given.run, tries, last))
                    continue
                words = f"{given.run.folder}: lost {_TRIES} times without a new checkpoint; {outcome.message}"
                outcome = Outcome("failed", words)
            for path in (permit_of(given.run.folder), taken_of(given.run.folder)):
                path.unlink(missing_ok=True)
            over.append((given.run, outcome))
        return over

    def _give(self) -> None:
        waiting, self._waiting = self._waiting, []
        errands = []
        for run, _, _ in waiting:
            errands.append(Errand(run, self._keep, self._threads, uuid.uuid4().hex))
            run.folder.parent.mkdir(parents=True, exist_ok=True)
            write_whole(permit_of(run.folder), f"{errands[-1].number}\n".encode())
        try:
            handles = self.submit(errands) if errands else []
        except BaseException:
            for run, _, _ in waiting:
                permit_of(run.folder).unlink(missing_ok=True)
            raise
        for (run, tries, last), errand, handle in zip(waiting, errands, handles, strict=True):
            self._given.append(_Given(run, errand.number, handle, tries, last))


def _written(run: Run) -> int | None:
    """Return when the last checkpoint of a run was written."""
    try:
        return RunFolder(run.folder).checkpoint_file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
