"""safetensors files of which equal content makes equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.torch
from torch import Tensor

_LENGTH = 8  # bytes of the number that says how long the header is, and what the header is padded to
_METADATA = "__metadata__"


def file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file.

    safetensors itself writes the entries of the metadata in another order each time; here they are sorted.

    Args:
        tensors: contiguous tensors on the CPU, by name.
        metadata: texts, by name.

    Raises:
        SafetensorError: if tensors share memory or cannot be written.
    """
    content: bytes = safetensors.torch.save(dict(tensors), dict(metadata))
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    header[_METADATA] = dict(sorted(header[_METADATA].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + content[end:]
