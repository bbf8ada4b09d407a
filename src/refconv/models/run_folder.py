"""The folder of a run: its files, who may use it, and writing that leaves whole files or none.

recipe.toml      everything needed to run it again, versions and seed included
metrics.jsonl    one line per log step and per evaluation
checkpoint.pt    resumable state
model/           the plain result
record.json      what was measured; present once the run has finished
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refconv.errors import RunError
from refconv.recipe.recipe import Recipe

LOCK_FILE = ".lock"


class RunFolder:
    """The paths of a run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.toml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.model_folder = self.path / "model"
        self.record_file = self.path / "record.json"
        self.tensorboard_folder = self.path / "tensorboard"

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Hold the folder for a new run, or for going on with the one in it.

        The lock is the kernel's: it ends with the process, however that ends. A folder in which nothing was written
        is removed again.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError("not a folder", where=str(self.path), remedy="give another folder")
        if resume and not self.path.is_dir():
            raise self._nothing_to_resume("no folder")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = _Lock(self.path / LOCK_FILE)
        try:
            lock.acquire()
            self._check(resume)
            yield
        finally:
            if lock.held and not self._present():
                shutil.rmtree(self.path)
            lock.close()

    def _check(self, resume: bool) -> None:
        """Check that a run can start or go on here."""
        present = self._present()
        if resume and not self.checkpoint_file.is_file():
            raise self._nothing_to_resume(", ".join(present[:4]) or "an empty folder")
        if not resume and present:
            raise RunError(
                "the run folder exists already",
                where=str(self.path),
                found=", ".join(present[:4]) + (", ..." if len(present) > 4 else ""),
                remedy="continue it with --resume, or give another folder",
            )

    def _present(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir() if entry.name != LOCK_FILE)

    def _nothing_to_resume(self, found: str) -> RunError:
        return RunError(
            "nothing to resume",
            where=str(self.path),
            expected=f"a file {self.checkpoint_file.name}",
            found=found,
            remedy="start the run without --resume",
        )

    def recipe_to_resume(self) -> Path:
        """Return the recipe with which the run here goes on."""
        if not self.recipe_file.is_file():
            names = self._present()[:4] if self.path.is_dir() else None
            raise self._nothing_to_resume("no folder" if names is None else ", ".join(names) or "an empty folder")
        return self.recipe_file

    def recipe(self) -> Recipe:
        """Read the recipe of the run."""
        return Recipe.from_toml(self.recipe_file)


class _Lock:
    """A lock file held by this process."""

    def __init__(self, path: Path) -> None:
        self.path, self.held = path, False
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _LOCKS.add(self)

    def acquire(self, what: str = "run folder") -> None:
        """Take the lock."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"the {what} is in use by another process",
                where=str(self.path.parent),
                remedy="wait for it, or give another folder",
            ) from error
        self.held = True

    def close(self) -> None:
        """Give the lock back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor, self.held = -1, False


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, made if it is missing, so that no other process works in it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _Lock(folder / LOCK_FILE)
    try:
        lock.acquire(what)
        yield
    finally:
        lock.close()


_LOCKS: weakref.WeakSet[_Lock] = weakref.WeakSet()


def _close_locks() -> None:
    for lock in _LOCKS:
        lock.close()


# A forked child, such as a data worker, must not keep the folder locked when this process is gone.
os.register_at_fork(after_in_child=_close_locks)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into one line that says what is still whole."""
    try:
        yield
    except OSError as error:
        raise RunError(
            "cannot write",
            where=str(path),
            found=error.strerror or str(error),
            remedy="what was written before is whole: make room, then continue with --resume",
        ) from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that, whatever happens, either the old or the new content is there."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with writing(path):
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
    except RunError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on the disk, so that a renamed file stays renamed when the power fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
