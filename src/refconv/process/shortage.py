"""What the machine has run out of, in one line: room on the disk, memory, open files, rights."""

from __future__ import annotations

import errno
import re
import sys

from refconv.errors import RefconvError, RunError, lacks_memory

_REMEDIES = {
    "ENOSPC": "make room on the disk",
    "EDQUOT": "make room within your quota",
    "EROFS": "the file system is read-only: let it be written, or use another folder",
    "EACCES": "check the permissions of the folder",
    "EPERM": "check the permissions of the folder",
    "EIO": "check the disk",
    "ESTALE": "check the network file system",
    "ENOTCONN": "check the network file system",
    "ETIMEDOUT": "check the network file system",
    "EFBIG": "raise the limit on the size of files: ulimit -f unlimited",
    "EMFILE": "raise the limit on open files: ulimit -n 65536",
    "ENFILE": "close other programs: this machine has too many open files",
    "ENAMETOOLONG": "give a shorter name",
    "EISDIR": "move the folder of this name away",
    "ENOTDIR": "move the file that stands in the place of a folder away",
    "ELOOP": "follow its symbolic links: they lead in a circle",
    "ENOMEM": "free memory, or use a smaller batch or fewer workers",
    "EAGAIN": "end other processes, or use fewer workers",
}
_BY_NUMBER = {getattr(errno, name): remedy for name, remedy in _REMEDIES.items() if hasattr(errno, name)}

# How OpenMP and Python say that a thread could not be started.
_NO_THREADS = re.compile(r"can't start new thread|thread constructor failed|Resource temporarily unavailable")

SHORTAGES = (OSError, MemoryError, RuntimeError, ImportError)
"""The kinds of errors among which :func:`shortage` finds those of the machine."""


def remedy_for(error: OSError) -> str | None:
    """Return what helps against an error of the operating system; None if nothing is known."""
    return _BY_NUMBER.get(error.errno or 0)


def shortage(error: BaseException) -> RefconvError | None:
    """Return the error to show where the machine has run out of something, or does not let files be written.

    None for any other error, which may be a bug.

    Example:
        >>> print(shortage(OSError(errno.ENOSPC, "No space left on device", "a.txt")))
        a.txt: cannot be used; found No space left on device; make room on the disk
        >>> shortage(KeyError("a")) is None
        True
    """
    found = " ".join(str(error).split())[:200] or type(error).__name__
    if lacks_memory(error):
        return RunError("out of memory", found=found, remedy=_BY_NUMBER[errno.ENOMEM])
    if isinstance(error, RuntimeError) and _NO_THREADS.search(found):
        return RunError("no process or thread can be started", found=found, remedy=_BY_NUMBER[errno.EAGAIN])
    if not isinstance(error, OSError) or (remedy := remedy_for(error)) is None:
        return None
    where = error.filename if error.filename2 is None else error.filename2
    name = where.decode(sys.getfilesystemencoding(), "surrogateescape") if isinstance(where, bytes) else where
    what = "cannot be used" if name is not None else "the operating system refused"
    return RunError(what, where=None if name is None else str(name), found=error.strerror, remedy=remedy)
