"""File operations beneath one folder that fail, or that kill the process: counted, so that a test can try each of them.

What the standard library does to files goes through the functions replaced here; neither a full disk nor any rights are
needed.
"""

import builtins
import errno
import io
import os
import pathlib
import signal
import threading
from pathlib import Path

FULL, READ_ONLY, BROKEN, KILL, HALF = "full", "read-only", "broken", "kill", "half"
"""From an operation on no room is left; nothing can be changed; this operation alone fails; SIGKILL before it; SIGKILL
after the first half of what it writes."""

_GROWING = {"open", "write", "fsync", "close", "mkdir", "replace", "truncate", "sendfile", "link"}
_ERRORS = {FULL: errno.ENOSPC, READ_ONLY: errno.EROFS, BROKEN: errno.EIO}


class FaultyFiles:
    """Counts the operations that change what lies beneath ``root``, from 1 on, and lets the ``at``-th one go wrong."""

    def __init__(self, root, *, at=0, fault=FULL, call=None):
        self.root, self.at, self.fault, self.call = str(Path(root).absolute()), at, fault, call
        self.operations = []
        self._lock = threading.RLock()

    def begin(self):
        """Replace the functions of this process."""
        for name in (
            "fsync",
            "mkdir",
            "replace",
            "rename",
            "unlink",
            "remove",
            "rmdir",
            "truncate",
            "ftruncate",
            "link",
        ):
            setattr(os, name, self._counted(name, getattr(os, name)))
        os.open = self._opened(os.open)
        os.write = self._counted("write", os.write)
        os.sendfile = self._counted("sendfile", os.sendfile)
        builtins.open = io.open = self._file_opened(io.open)

    def step(self, kind, path, half=None):
        """Count one operation, and fail or end the process if its turn has come."""
        with self._lock:
            kind = {"remove": "unlink", "rename": "replace", "ftruncate": "truncate"}.get(kind, kind)
            self.operations.append(f"{kind} {os.path.relpath(path, self.root)}")
            count = len(self.operations)
            if not self.at or count < self.at:
                return
            if count == self.at and self.call is not None:
                self.call()
                return
            if self.fault in {KILL, HALF} and count == self.at:
                if half is not None and self.fault == HALF:
                    half()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == BROKEN and count != self.at:
                return
            if self.fault in _ERRORS and (kind in _GROWING or self.fault == READ_ONLY):
                if half is not None and self.fault == FULL and count == self.at:
                    half()
                number = _ERRORS[self.fault]
                raise OSError(number, os.strerror(number), *(() if kind in {"write", "fsync", "close"} else (path,)))

    def _inside(self, path, base=None):
        if isinstance(path, int):
            try:
                path = Path(f"/proc/self/fd/{path}").readlink()
            except OSError:
                return None
        path = os.fsdecode(path)
        if base is not None and not pathlib.Path(path).is_absolute():
            path = Path(f"/proc/self/fd/{base}").readlink() / path
        path = os.path.normpath(Path(path).absolute())
        return path if path == self.root or path.startswith(self.root + os.sep) else None

    def _counted(self, kind, function):
        def counted(path, *arguments, **named):
            inside = self._inside(path, named.get("dir_fd"))
            if inside is not None:
                self.step(kind, inside)
            return function(path, *arguments, **named)

        return counted

    def _opened(self, function):
        def opened(path, flags, *arguments, **named):
            inside = self._inside(path, named.get("dir_fd"))
            if inside is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self.step("open", inside)
            return function(path, flags, *arguments, **named)

        return opened

    def _file_opened(self, function):
        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            inside = None if opener is not None else self._inside(file)
            if inside is None or not set(mode) & set("wax+"):
                return function(file, mode, buffering, encoding, errors, newline, closefd, opener)
            self.step("open", inside)
            raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd)
            raw.faults, raw.path = self, inside
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            if "b" in mode:
                return buffered
            text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
            text.mode = mode
            return text

        return opened


class _Raw(io.FileIO):
    """A file whose writing is counted."""

    def write(self, content):
        content = memoryview(content).cast("B")
        plain = super().write
        self.faults.step("write", self.path, half=lambda: plain(content[: len(content) // 2]))
        return plain(content)

    def truncate(self, *size):
        self.faults.step("truncate", self.path)
        return super().truncate(*size)

    def close(self):
        opened = not self.closed
        super().close()
        if opened and hasattr(self, "faults"):
            self.faults.step("close", self.path)
