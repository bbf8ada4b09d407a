"""Mutants of every file that refconv reads: refused in one line, or read as the original; never another outcome."""

import json
from collections import Counter

import pytest

from faults.data_entries import ENTRIES
from faults.mutants import outcome

pytestmark = pytest.mark.faults
PROMISE = "files prove themselves"
COUNT = 300
SEED = 20260101


@pytest.mark.parametrize("name", ENTRIES)
def test_every_mutant_is_refused_or_read_as_the_original(name, tmp_path, figures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = ENTRIES[name](tmp_path)
    original = entry.read()
    assert entry.read() == original
    content, tried, faults = entry.file.read_bytes(), 0, {}
    for mutant, changed in entry.mutants(SEED, COUNT):
        entry.file.write_bytes(changed)
        tried += 1
        if fault := outcome(entry.read, original, legal=entry.legal, same=entry.same):
            faults[mutant] = fault
    entry.file.write_bytes(content)
    assert entry.read() == original, "reading a mutant changed what is read afterwards"
    figures(PROMISE, tried, tried - len(faults), entry=name)
    kinds = Counter(fault.partition(":")[0] for fault in faults.values())
    assert not faults, (
        f"{len(faults)} of {tried}: {dict(kinds)}\n" + json.dumps(faults, indent=1, ensure_ascii=True)[:6000]
    )
    assert tried >= COUNT
