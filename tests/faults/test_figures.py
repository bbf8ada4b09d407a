"""Figures of reliability are kept where they are asked for, and only there."""

import json

import pytest

from faults.figures import VARIABLE


@pytest.mark.parametrize("kept", [True, False])
def test_figures_are_kept_where_they_are_asked_for(kept, tmp_path, figures, request, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    file = tmp_path / "figures.jsonl"
    if kept:
        monkeypatch.setenv(VARIABLE, str(file))
    figures("nothing is lost", 3, 2, seconds=1.5)
    figures("nothing is lost", 3, 3)
    assert file.exists() == kept
    if kept:
        first, last = [json.loads(line) for line in file.read_text().splitlines()]
        assert first == {**last, "right": 2, "seconds": 1.5}
        assert last == {"promise": "nothing is lost", "test": request.node.nodeid, "tried": 3, "right": 3}
