"""Digests of exported files, which other programs read: the last bytes of a file hold that of all before them.

What follows the content of a format is chosen so that its readers pass over it: the comment of an archive (``.pt2``
and ``.torchscript``), one more entry of the metadata of a protobuf message (``.onnx``), a comment in XML. Files with
weights beside them, such as OpenVINO's ``.bin``, prove these too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from refconv.digests import COPY_AGAIN, DAMAGED
from refconv.errors import CheckpointError
from refconv.records import replace_file

NAME = "refconv_sha256"
_LENGTH = 64  #: Characters of a SHA-256
_ZIPS = {".pt2", ".torchscript"}


def seal(path: Path) -> None:
    """Write a digest at the end of a file, which is then there whole or as it was.

    Raises:
        OSError: if it cannot be written.
    """
    content = path.read_bytes()
    if path.suffix in _ZIPS:
        content = content[:-2]  # the length of a comment, which is none
    replace_file(path, content + _end(path, _digest(path, content)))


def check_sealed(path: Path) -> bool:
    """Compare a file with the digest at its end; return whether it has one, which earlier versions did not write.

    Raises:
        CheckpointError: if the file is not what was written.
    """
    content = path.read_bytes()
    size = len(_end(path, "0" * _LENGTH))
    whole, end = content[:-size], content[-size:]
    if end == _end(path, _digest(path, whole)):
        return True
    if NAME.encode() in content[-2 * size :]:
        raise CheckpointError(DAMAGED, where=str(path), remedy=f"{COPY_AGAIN}, or export it again")
    return False


def _digest(path: Path, content: bytes) -> str:
    """Return the digest of a file's content and of the files of weights beside it."""
    hashed = hashlib.sha256(content)
    for beside in (path.with_suffix(".bin"), path.with_name(f"{path.name}.data")):
        if path.suffix not in _ZIPS and beside.is_file():
            hashed.update(beside.read_bytes())
    return hashed.hexdigest()


def _end(path: Path, digest: str) -> bytes:
    """Return what a format's readers pass over."""
    if path.suffix == ".xml":
        return f"<!-- {NAME} {digest} -->\n".encode()
    if path.suffix in _ZIPS:
        comment = f"{NAME} {digest}".encode()
        return len(comment).to_bytes(2, "little") + comment
    # ModelProto.metadata_props is field 14, StringStringEntryProto's key and value are 1 and 2, all of bytes.
    entry = b"\x0a" + bytes([len(NAME)]) + NAME.encode() + b"\x12" + bytes([len(digest)]) + digest.encode()
    return b"\x72" + bytes([len(entry)]) + entry
