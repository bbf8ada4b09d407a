"""Figures of reliability are kept where they are asked for, and only there."""

import json
from types import SimpleNamespace

import pytest

from faults.figures import VARIABLE, pytest_terminal_summary


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


@pytest.mark.parametrize(
    ("marked", "more", "kept"), [("faults", {}, True), ("not slow", {}, False), ("faults", {"workerinput": {}}, False)]
)
def test_the_whole_tier_leaves_its_counts_and_minutes(marked, more, kept, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "figures.jsonl"))
    config = SimpleNamespace(getoption={"markexpr": marked}.get, args=["tests"], **more)
    stats = {"passed": ["a", "b"], "failed": ["c"], "skipped": ["d"], "": ["set up"]}
    pytest_terminal_summary(SimpleNamespace(config=config, stats=stats))
    assert (tmp_path / "figures.jsonl").exists() == kept
    if kept:
        line = json.loads((tmp_path / "figures.jsonl").read_text())
        assert (line["tried"], line["right"], line["skipped"]) == (3, 2, 1)
        assert line["minutes"] >= 0
