"""The loops of slices.c, compiled on first use by the C compiler of the machine and kept in the user's cache folder.

Without a compiler, or with ``REFCONV_COMPILE=0`` in the environment, :func:`library` returns None and the operations of
torch are used, which give the same numbers to rounding and take longer.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from refconv.errors import RefconvWarning

SOURCE = Path(__file__).with_name("slices.c")
SWITCH = "REFCONV_COMPILE"  #: The environment variable that switches compiled loops off
_DEFINITIONS = {torch.float32: "-DREAL=float", torch.float64: "-DREAL=double", torch.bfloat16: "-DBFLOAT16"}
#: Flags for the processor at hand, the first that the compiler takes
_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())
_FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_DIGEST = ".sha256"  #: Ends the name of the file that holds a library's digest
_LOCK = ".lock"  #: The file by which processes take turns in the folder
_PATIENCE = 120  # seconds that a compilation may take


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the loops for tensors of a dtype, or None where they cannot be had."""
    if dtype not in _DEFINITIONS or os.environ.get(SWITCH) == "0":
        return None
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    kept = _cache()
    if kept is not None:
        # Without room or locks there, for this process alone.
        with contextlib.suppress(OSError, NotImplementedError, subprocess.SubprocessError):
            return _built(compiler, _DEFINITIONS[dtype], kept)
    try:
        return _built(compiler, _DEFINITIONS[dtype], None)
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    about = f"{compiler} does not compile the loops for dense kernels, so operations of torch take their place"
    warnings.warn(f"{about}; found {why.strip()[-200:]!r}; {SWITCH}=0 does not try", RefconvWarning, stacklevel=2)
    return None


def _built(compiler: str, definition: str, kept: Path | None) -> ctypes.CDLL:
    """Return the compiled loops, from the folder where they are kept or made anew.

    Of several processes that need them at once one compiles, and the others wait for it.

    Raises:
        OSError: if there is no room, or the library cannot be loaded.
        SubprocessError: if the compiler fails, or does not come back.
    """
    from filelock import FileLock  # which torch needs as well

    suffix = "dylib" if sys.platform == "darwin" else "so"
    name = f"slices-{_identity(compiler, definition)}.{suffix}"
    if kept is not None and (found := _loaded(kept / name)) is not None:
        return found
    with contextlib.nullcontext() if kept is None else FileLock(kept / _LOCK, timeout=_PATIENCE):
        if kept is not None and (found := _loaded(kept / name)) is not None:
            return found
        with tempfile.TemporaryDirectory(prefix="refconv-", dir=kept) as folder:
            made = Path(folder, name)
            _compile(compiler, definition, made)
            if kept is not None:
                digest = made.with_suffix(_DIGEST)
                digest.write_text(_digest(made), encoding="ascii")
                made = made.replace(kept / name)
                digest.replace(made.with_suffix(_DIGEST))
            return ctypes.CDLL(str(made))


def _loaded(library: Path) -> ctypes.CDLL | None:
    """Return a library that is kept; None without it, or where it is damaged or made for a system that is no more."""
    with contextlib.suppress(OSError):
        return ctypes.CDLL(str(library)) if _undamaged(library) else None
    return None


def _undamaged(library: Path) -> bool:
    """Return whether a library is what was compiled: to load a damaged one ends the process."""
    try:
        return library.with_suffix(_DIGEST).read_text(encoding="ascii") == _digest(library)
    except (OSError, ValueError):
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _compile(compiler: str, definition: str, made: Path) -> None:
    """Compile for the processor at hand, or for any where the compiler does not know the flag."""
    for processor in _PROCESSOR:
        command = [compiler, *_FLAGS, *processor, definition, "-o", str(made), str(SOURCE)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=_PATIENCE)
        said = done.stderr.decode(errors="replace")
        if done.returncode == 0 and made.exists():
            return
        if not any(flag.split("=")[0] in said for flag in processor):
            break
    raise subprocess.SubprocessError(said or f"exit status {done.returncode}")


def _identity(compiler: str, definition: str) -> str:
    """Return a digest of all that a compiled file depends on: source, flags, compiler and the processor's features."""
    found = os.stat(compiler)  # noqa: PTH116
    parts = [SOURCE.read_bytes(), definition, _FLAGS, compiler, found.st_size, found.st_mtime_ns]
    return hashlib.sha256(repr([*parts, platform.machine(), _features()]).encode()).hexdigest()[:24]


def _features() -> str:
    """Return what the processor can do, since a cache folder may be shared between machines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part", "isa")
    return "\n".join(sorted({line for line in text.splitlines() if line.startswith(wanted)}))


def _cache() -> Path | None:
    """Return the folder of compiled files, or None where no other user is kept from writing there."""
    given = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        folder = (given if given.is_absolute() else Path("~/.cache")).expanduser() / "refconv"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except (OSError, RuntimeError):
        return None
    own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    closed = not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if own and closed and os.access(folder, os.W_OK) else None
