"""Files of tensors: safetensors reads them, and equal content makes equal bytes in every process."""

import json

import torch
from safetensors import safe_open
from safetensors.torch import load

from refconv.digests import DIGEST
from refconv.surgery import file_bytes

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.bfloat16), "c": torch.tensor(7)}
METADATA = {f"entry {number}": f'"{number}" ä' for number in range(9)}


def test_safetensors_reads_what_was_written(tmp_path):
    content = file_bytes(TENSORS, METADATA)
    (tmp_path / "a.safetensors").write_bytes(content)
    found = load(content)
    assert found.keys() == TENSORS.keys()
    assert all(
        torch.equal(value, TENSORS[name]) and value.dtype == TENSORS[name].dtype for name, value in found.items()
    )
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert {name: text for name, text in file.metadata().items() if name != DIGEST} == METADATA


def test_the_order_of_metadata_does_not_depend_on_chance():
    length = int.from_bytes(file_bytes(TENSORS, METADATA)[:8], "little")
    assert length % 8 == 0
    contents = {file_bytes(TENSORS, dict(reversed(METADATA.items()))) for _ in range(8)}
    assert contents == {file_bytes(TENSORS, METADATA)}
    (content,) = contents
    assert list(json.loads(content[8 : 8 + length])["__metadata__"]) == sorted([*METADATA, DIGEST])
