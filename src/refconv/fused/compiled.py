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
from collections.abc import Iterator
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("slices.c")
SWITCH = "REFCONV_COMPILE"  #: The environment variable that switches compiled loops off
_DEFINITIONS = {torch.float32: "-DREAL=float", torch.float64: "-DREAL=double", torch.bfloat16: "-DBFLOAT16"}
#: Flags for the processor at hand, the first that the compiler takes
_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())
_FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_PATIENCE = 120  # seconds that a compilation may take


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the loops for tensors of a dtype, or None where they cannot be had."""
    if dtype not in _DEFINITIONS or os.environ.get(SWITCH) == "0":
        return None
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    try:
        return _built(compiler, _DEFINITIONS[dtype])
    except (OSError, subprocess.TimeoutExpired):  # nowhere to write, or a compiler that does not come back
        return None


def _built(compiler: str, definition: str) -> ctypes.CDLL | None:
    suffix = "dylib" if sys.platform == "darwin" else "so"
    name, kept = f"slices-{_identity(compiler, definition)}.{suffix}", _cache()
    if kept is not None:
        with contextlib.suppress(OSError):  # not there, or damaged: it is made again
            return ctypes.CDLL(str(kept / name))
    with tempfile.TemporaryDirectory(prefix="refconv-", dir=kept) as folder:
        made = Path(folder, name)
        for command in _commands(compiler, definition, made):
            done = subprocess.run(command, check=False, capture_output=True, timeout=_PATIENCE)
            if done.returncode == 0 and made.exists():
                break
        else:
            return None
        if kept is not None:
            made = made.replace(kept / name)
        return ctypes.CDLL(str(made))


def _commands(compiler: str, definition: str, made: Path) -> Iterator[list[str]]:
    for processor in _PROCESSOR:
        yield [compiler, *_FLAGS, *processor, definition, "-o", str(made), str(SOURCE)]


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
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "refconv"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except (OSError, RuntimeError):
        return None
    own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    closed = not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if own and closed and os.access(folder, os.W_OK) else None
