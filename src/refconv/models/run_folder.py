"""The folder of a run: its files, who may use it, and writing that leaves whole files or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from refconv.errors import CheckpointError, RefconvError, RunError, said_by
from refconv.named_code import check_trusted, resuming, running
from refconv.paths import path_of
from refconv.process.shortage import remedy_for
from refconv.recipe.code import code_of
from refconv.recipe.recipe import Recipe, check_recipe_digest
from refconv.records import replace_file

LOCK_FILE = ".lock"
AGAIN = "give the same command again"


class RunFolder:
    """The paths of a run."""

    def __init__(self, path: Path | str) -> None:
        self.path = path_of(path)
        self.recipe_file = self.path / "recipe.toml"  # everything needed to run it again, versions and seed included
        self.metrics_file = self.path / "metrics.jsonl"  # one line per log step and per evaluation
        self.checkpoint_file = self.path / "checkpoint.pt"  # resumable state
        self.model_folder = self.path / "model"  # the plain result
        self.record_file = self.path / "record.json"  # what was measured; present once the run has finished
        self.snapshots_folder = self.path / "snapshots"  # weights at the end of the last epochs, if asked for
        self.tensorboard_folder = self.path / "tensorboard"
        self.loggers_file = self.path / "loggers.json"  # by which loggers go on with the run, if it is resumed

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Hold the folder for a new run, or for going on with the one in it.

        A new one that fails before its first checkpoint, or that stays empty, is removed again.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError("not a folder", where=str(self.path), remedy="give another folder")
        if resume and not self.path.is_dir():
            raise self._nothing_to_resume()
        with locked(self.path, "run folder"):
            begun = spoilt = False
            try:
                if not resume and self._never_began():
                    self._clear()
                present = self._present()
                if resume and not self.checkpoint_file.is_file():
                    raise self._nothing_to_resume()
                if not resume and present:
                    found = ", ".join(present[:4]) + (", ..." if len(present) > 4 else "")
                    going_on = f"continue it with {resuming()}, or " if self.checkpoint_file.is_file() else ""
                    what, remedy = "the run folder exists already", f"{going_on}give another folder"
                    raise RunError(what, where=str(self.path), found=found, remedy=remedy)
                begun = not resume
                yield
            except RefconvError:
                spoilt = begun and not self.checkpoint_file.is_file()
                raise
            finally:
                if self.path.is_dir() and (spoilt or not self._present()):  # it may have been moved meanwhile
                    # On Windows a held lock stays, and a disk that has become read-only keeps everything.
                    shutil.rmtree(self.path, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything in the folder but its lock, which is held meanwhile."""
        with locked(self.path, "run folder"):
            self._clear()

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_FILE:
                entry.unlink()

    def _never_began(self) -> bool:
        """Return whether a run was stopped here before its first checkpoint, so that nothing is lost by starting it.

        That checkpoint is written before the first line of metrics.
        """
        first = {self.recipe_file.name, self.metrics_file.name, self.loggers_file.name, self.tensorboard_folder.name}
        present = set(self._present())
        measured = self.metrics_file.is_file() and self.metrics_file.stat().st_size
        return self.recipe_file.name in present and present <= first and not measured

    def _present(self) -> list[str]:
        """Return the names of what is here, without locks and what a killed process left half written."""
        names = (entry.name for entry in self.path.iterdir())
        passing = LOCK_FILE, ".*.partial", f".*{LOCK_FILE}"
        return sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in passing))

    def _nothing_to_resume(self) -> RunError:
        found = ", ".join(self._present()[:4]) or "an empty folder" if self.path.is_dir() else "no folder"
        expected, remedy = f"a file {self.checkpoint_file.name}", "start the run without --resume"
        if self.model_folder.is_dir():
            remedy = f"its result is plain already: {self.model_folder}"
        elif self.path.is_dir() and self._present() and not self._never_began():
            remedy = "start the run in another folder, without --resume"
        return RunError("nothing to resume", where=str(self.path), expected=expected, found=found, remedy=remedy)

    @property
    def is_run(self) -> bool:
        """Whether a run has left something here, be it whole or not."""
        return any(file.is_file() for file in (self.recipe_file, self.checkpoint_file, self.record_file))

    def refuse_run(self) -> None:
        """Refuse the folder of a run for something else that is to be written there."""
        if self.is_run:
            raise RunError("the folder of a run", where=str(self.path), remedy="give another folder")

    def without_checkpoint(self) -> CheckpointError:
        """Return the error for a run whose checkpoint is needed and not there."""
        expected, found = f"a file {self.checkpoint_file.name}", ", ".join(self._present()[:4])
        remedy = f"begin it again: refconv train --recipe {self.recipe_file} --out FOLDER"
        if self.model_folder.is_dir():
            remedy = f"its result is plain already: {self.model_folder}"
        what = "a run whose checkpoint is missing"
        return CheckpointError(what, where=str(self.path), expected=expected, found=found, remedy=remedy)

    def recipe_to_resume(self) -> Path:
        """Return the recipe with which the run here goes on."""
        if not self.recipe_file.is_file():
            if not self.checkpoint_file.is_file():
                raise self._nothing_to_resume()
            expected, remedy = f"a file {self.recipe_file.name}", "the command that trained it writes it again, with "
            what = "a run whose recipe is missing"
            raise RunError(what, where=str(self.path), expected=expected, remedy=f"{remedy}--resume")
        return self.recipe_file

    def to_finish(self) -> str:
        """Return, as a remedy, the command that writes record and model again from the last checkpoint."""
        if not self.checkpoint_file.is_file():
            return f"without {self.checkpoint_file.name} nothing brings it back: train the run again in another folder"
        code: Iterable[str] = ()
        with suppress(RefconvError):  # a damaged recipe is said by the command
            code = code_of(Recipe.from_toml(self.recipe_file))
        with running(code):
            return f"refconv train {resuming()} --out {self.path}"

    def holds(self, recipe: Recipe) -> bool:
        """Return whether the folder's recipe is this one, as it was written."""
        with suppress(RefconvError):
            return self.recipe_file.is_file() and self.recipe() == recipe
        return False

    def recipe(self) -> Recipe:
        """Read the recipe of the run, which is what was written and names no code that the user does not know."""
        recipe = Recipe.from_toml(self.recipe_file)
        check_recipe_digest(self.recipe_file)
        check_trusted(code_of(recipe), where=str(self.recipe_file))
        return recipe


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, made if it is missing, so that no other process works in it; ``what`` it is, for messages.

    The lock is the operating system's: it ends with the process, however that ends, and forked children do not hold it.
    """
    with _held(folder / LOCK_FILE, folder, what):
        yield


@contextmanager
def held(path: Path, what: str, *, force: bool) -> Iterator[None]:
    """Hold a file or folder that is about to be written; without ``force`` there must be none.

    The lock stands beside it. What is checked before work begins may have changed when the work is done: two processes
    that write to one place take turns here, and the second one finds the first one's.
    """
    place = path.resolve()
    lock, made = place.with_name(f".{place.name}{LOCK_FILE}"), not place.parent.exists()
    try:
        with _held(lock, path, what, AGAIN):
            check_unused(path, force=force)
            yield
    finally:
        if made:
            with suppress(OSError):  # something was written into it
                place.parent.rmdir()


@contextmanager
def _held(file: Path, path: Path, what: str, then: str | None = None) -> Iterator[None]:
    """Hold a lock, whose file is removed at the end.

    Note [Removing a lock]: the file goes while the lock is held, and only if it is still the one that was locked: the
    folder may have been moved, and another run begun in its place. A process that had opened it before and gets the
    lock afterwards finds that its file has no name any more, and begins again (filelock from 4.0 on).
    """
    from filelock import FileLock, Timeout  # help must not wait for it

    lock = FileLock(file, timeout=0, thread_local=False)
    with writing(path, then):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            noun = "folder" if "folder" in what else "file"
            what, remedy = f"the {what} is in use by another process", f"wait for it, or give another {noun}"
            raise RunError(what, where=str(path), remedy=remedy) from error
        own = file.stat()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps the file of a held lock, and a disk that has become read-only every one
            # Without locks of the system, as on some network disks, the file itself is the lock.
            if type(lock) is FileLock and os.path.samestat(own, file.stat()):
                file.unlink()
        lock.release()


@contextmanager
def writing(path: Path, then: str | None = None) -> Iterator[None]:
    """Turn a failure to write into one line that says what is still whole, and what to do ``then``: resume the run.

    A folder that is not there any more may have been moved or removed, which a path cannot tell.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            moved, removed = (
                f"if moved, it is whole: continue there with {resuming()}",
                "if removed, start the run again",
            )
            remedy = f"the folder was moved or removed: {then or f'{moved}; {removed}'}"
        else:
            advice = remedy_for(error) or "make room"
            remedy = f"what was written before is whole: {advice}, then {then or f'continue with {resuming()}'}"
        raise RunError("cannot write", where=str(path), found=said_by(error), remedy=remedy) from error


def check_unused(path: Path, *, force: bool) -> None:
    """Refuse a file or folder that exists already, unless it may be replaced."""
    if path.exists() and not force:
        noun = "folder" if path.is_dir() else "file"
        remedy = f"give another {noun}, or --force to replace it, in Python force=True"
        raise RunError("exists already", where=str(path), remedy=remedy)


def write_whole(path: Path, content: bytes | memoryview, *, then: str | None = None) -> None:
    """Write a file so that, whatever happens, either the old or the new content is there; ``then`` as in `writing`."""
    with writing(path, then):
        replace_file(path, content)
