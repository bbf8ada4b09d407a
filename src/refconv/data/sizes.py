"""Bounds on what a compressed file may become in memory.

Repeated bytes shrink a thousandfold in gzip, zip and image formats, so that a file of a few megabytes may ask for all
memory there is. What a file says of its own size is looked at before anything is unpacked.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from refconv.errors import DataError

_SMALL = 1 << 30  # bytes that any file may become
_RATIO = 200  # times its own size that a larger one may become: few files of use shrink by more
_STEP = 1 << 20  # bytes


def most_bytes(size: int) -> int:
    """Return how many bytes a compressed file of a size may become: 1 GiB, or 200 times its own size.

    Example:
        >>> most_bytes(1000), most_bytes(10**7)
        (1073741824, 2000000000)
    """
    return max(_SMALL, _RATIO * size)


def check_expansion(size: int, becomes: int, *, where: str) -> None:
    """Refuse a file of ``size`` bytes that says it becomes more than :func:`most_bytes`.

    Raises:
        DataError: if it does.
    """
    if becomes > most_bytes(size):
        expected, what = f"at most {most_bytes(size):,} bytes from {size:,}", "becomes too large when it is unpacked"
        remedy = "unpack it yourself if you trust its source"
        raise DataError(what, where=where, expected=expected, found=f"{becomes:,}", remedy=remedy)


def unzipped(path: Path) -> bytes:
    """Return the content of a gzip file.

    Raises:
        DataError: if it becomes too large; nothing beyond the bound is unpacked.
        ValueError: if it is damaged, cut short or no gzip file.
    """
    content, size = path.read_bytes(), path.stat().st_size
    parts: list[bytes] = []
    taken = 0
    while content:
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # with the head and the checksum of gzip
        while not stream.eof:
            try:
                part = stream.decompress(content, _STEP)
            except zlib.error as error:
                raise ValueError(str(error)) from error
            content = stream.unconsumed_tail
            if not (part or content or stream.eof):
                raise ValueError("the file was cut short")
            parts.append(part)
            taken += len(part)
            check_expansion(size, taken, where=str(path))
        content = stream.unused_data
    return b"".join(parts)
