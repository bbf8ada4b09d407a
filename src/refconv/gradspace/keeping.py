"""Where the bases of dense kernels are kept: beside the kernels, in the memory of the host, or on the disk.

A base is read once in a step and is as large as its kernel, so networks of dense kernels need one more copy of
themselves. Bases of depthwise and grouped kernels, which a step reads for weight decay only, are small and stay.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Literal, get_args

import torch
from torch import Tensor

from refconv.errors import SettingError
from refconv.gradspace.metric import is_sharded

_PIECE = 2**20  # bytes

Bases = Literal["device", "cpu", "disk"]


def check_bases(bases: str) -> None:
    """Refuse places that there are not, or not on this system."""
    if bases not in get_args(Bases):
        expected = ", ".join(get_args(Bases))
        raise SettingError("unknown place", where="bases", expected=expected, found=repr(bases))
    if bases == "disk" and sys.platform == "win32":
        raise SettingError("files without names are not to be had on Windows", where="bases", remedy="bases='cpu'")


def kept(base: Tensor, bases: Bases, layer: str) -> Tensor:
    """Return a base [its stored shape] with the same numbers and strides, kept where it is to be.

    On the disk it lies in a file without a name in the folder of temporary files (``TMPDIR``), which is mapped into
    memory: the system reads what a step needs, and drops it when memory is short. The file goes with the process.

    Raises:
        SettingError: if the base is sharded, or there is no room.
    """
    if is_sharded(base) and bases != "device":
        what = f"bases of sharded kernels stay beside them, which {bases!r} does not say"
        raise SettingError(what, where=f"bases of {layer}", remedy="bases='device': each process holds its part only")
    if bases == "cpu":
        return base if base.device.type == "cpu" else _in_host_memory(base)
    return _on_disk(base, layer) if bases == "disk" else base


def _in_host_memory(base: Tensor) -> Tensor:
    held = torch.empty_strided(base.shape, base.stride(), dtype=base.dtype, pin_memory=base.device.type == "cuda")
    return held.copy_(base)


def _on_disk(base: Tensor, layer: str) -> Tensor:
    numbers = base.untyped_storage().nbytes() // base.element_size()
    size = numbers * base.element_size()
    with tempfile.NamedTemporaryFile(prefix="refconv-base-") as file:
        try:  # to write into a mapped file that has no room ends the process
            for first in range(0, size, _PIECE):
                file.write(bytes(min(_PIECE, size - first)))
            file.flush()
        except OSError as error:
            what, where = (
                f"no room for {size:,} bytes: {error.strerror}",
                f"bases of {layer} in {tempfile.gettempdir()}",
            )
            raise SettingError(what, where=where, remedy="set TMPDIR to a folder with room") from error
        mapped = torch.from_file(file.name, shared=True, size=numbers, dtype=base.dtype)
    return mapped.as_strided(base.shape, base.stride()).copy_(base)
