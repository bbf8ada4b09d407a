"""Digests: files say what they hold, so that a file that was damaged or changed is noticed when it is read.

A digest is SHA-256 over names, values and the bytes of tensors, in their order, and not over the bytes of the file:
writing the same content in another layout keeps it. It tells damage and mistakes. It does not tell forgery, since
whoever changes a file can write a new digest. What is damaged so that it cannot be read at all is said here too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from refconv.errors import CheckpointError, RefconvError, RefconvWarning, in_one_line, lacks_memory, said_by

DIGEST = "refconv_digest"  #: The name under which files hold theirs
DAMAGED = "damaged or changed: its content is not what was written"
COPY_AGAIN = "copy or download the file again"
CHANGED = f"{COPY_AGAIN}; if you changed it yourself, leave its {DIGEST} out"
_ARCHIVE_BEGINS, _ARCHIVE_ENDS = b"PK\x03\x04", b"PK\x05\x06"
"""Signatures in the ZIP archives that torch.save writes: at the beginning, and in what closes them."""

_ARCHIVE_END = 2**16 + 22  # bytes that what closes an archive takes at most


def digest_of(content: Any) -> str:
    """Return the digest of names and values: mappings, lists, numbers, texts, and tensors of any device.

    Example:
        >>> digest_of({"a": [1, 2.5, None]})[:16]
        '4479d69e7637340e'
        >>> digest_of({"a": (1, 2.5, None)}) == digest_of({"a": [1, 2.5, None]}) != digest_of({"a": [1, 2.5, 0]})
        True
    """
    hashed = hashlib.sha256()
    _feed(hashed, content)
    return hashed.hexdigest()


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content with its digest, in place of one that it has."""
    rest = {name: value for name, value in content.items() if name != DIGEST}
    return {**rest, DIGEST: digest_of(rest)}


def split_digest(content: Mapping[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """Return content without its digest, and whether it fits; None if there is none."""
    rest = {name: value for name, value in content.items() if name != DIGEST}
    return rest, content[DIGEST] == digest_of(rest) if DIGEST in content else None


def check_digest(content: Mapping[str, Any], where: str, *, ours: bool) -> dict[str, Any]:
    """Return what a file holds without its digest.

    ``ours`` says whether this package wrote the file, so that a version of before digests must have done so where there
    is none, which is said.

    Raises:
        CheckpointError: if the content is not what was written.
    """
    rest, whole = split_digest(content)
    if whole is False:
        raise CheckpointError(DAMAGED, where=where, remedy=CHANGED)
    if whole is None and ours:
        message = f"{where}: written by a version that kept no digest, so that damage cannot be told"
        warnings.warn(message, RefconvWarning, stacklevel=3)
    return rest


@contextlib.contextmanager
def reading_tensors(path: Path, noun: str, *, expected: str, remedy: str = COPY_AGAIN) -> Iterator[None]:
    """Say in one line that a file of tensors, which ought to be ``noun``, is damaged or cannot be read.

    torch and safetensors speak of the inside of their files instead, which tells users nothing.

    Raises:
        CheckpointError: in place of whatever they raise; errors of ours pass.
    """
    with in_one_line(CheckpointError, "cannot be read", where=str(path), remedy=COPY_AGAIN):
        try:
            yield
        except Exception as error:  # readers of files raise anything for damaged ones
            if isinstance(error, RefconvError) or lacks_memory(error):
                raise
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of torch, that the end is missing
                found, advice = said_by(error), "check its permissions and the disk"
                raise CheckpointError("cannot be read", where=str(path), found=found, remedy=advice) from error
            what, size = _damage(path, noun)
            raise CheckpointError(
                what, where=str(path), expected=expected, found=f"{size:,} bytes", remedy=remedy
            ) from error


def _damage(path: Path, noun: str) -> tuple[str, int]:
    """Return what is wrong with a file that its reader cannot follow, and how many bytes it has."""
    size = path.stat().st_size
    with path.open("rb") as file:
        archive = file.read(4) == _ARCHIVE_BEGINS
        file.seek(max(0, size - _ARCHIVE_END))
        cut = not size or (archive and _ARCHIVE_ENDS not in file.read())
    return "damaged: the file is not whole, its end is missing" if cut else f"damaged, not whole, or not {noun}", size


_LEAVES = {str: b"str", int: b"int", float: b"float", bool: b"bool"}
"""The kinds of most values, with their names."""


def _feed(hashed: Any, value: Any) -> None:
    """Feed a value to a hash, so that no two different ones feed the same."""
    kind = type(value)
    if kind in _LEAVES:
        text = value if kind is str else repr(value)
        words = text.encode(errors="surrogatepass")
        hashed.update(b"%s%d:%s" % (_LEAVES[kind], len(words), words))
    elif kind is dict or isinstance(value, Mapping):
        hashed.update(b"{%d" % len(value))
        for pair in value.items():
            for part in pair:
                _feed(hashed, part)
    elif isinstance(value, (list, tuple)):
        hashed.update(b"[%d" % len(value))
        for item in value:
            _feed(hashed, item)
    elif hasattr(value, "data_ptr"):
        flat = value.detach().cpu().contiguous()
        hashed.update(f"<{flat.dtype}{tuple(flat.shape)}".encode())
        size = flat.numel() * flat.element_size()
        if size:
            hashed.update((ctypes.c_char * size).from_address(flat.data_ptr()))
    elif (plain := next((known for known in (bool, int, float) if isinstance(value, known)), None)) is not None:
        _feed(hashed, plain(value))  # a number of numpy's is written as a plain one
    else:
        words = (value if isinstance(value, str) else repr(value)).encode(errors="surrogatepass")
        hashed.update(b"%s%d:%s" % (kind.__name__.encode(), len(words), words))
