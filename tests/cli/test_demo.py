"""``refconv demo`` prints the table, keeps it, and fails when the certificate does."""

import dataclasses

import pytest

from refconv.cli import main
from refconv.engine.demo import DemoRecord, DemoRow, markdown

RECORD = DemoRecord(
    rows=(DemoRow("base", 0.97493, 80, 27826, 27826, 6.04),), test_images=359, certificate="structure  the same",
    certified=True, seconds=61.2, hardware="a machine", versions={"torch": "2.9"},
)  # fmt: skip


@pytest.fixture
def measured(monkeypatch, tmp_path):
    found = [RECORD]
    (tmp_path / "demo").mkdir()
    monkeypatch.setattr("refconv.engine.demo.demo", lambda out, say: found[0])
    return found


def test_demo_prints_markdown_in_a_pipe(measured, tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    assert capsys.readouterr().out == f"\n{markdown(RECORD)}\n"
    assert (tmp_path / "demo" / "table.md").read_text() == f"{markdown(RECORD)}\n"


def test_demo_prints_a_table_in_a_terminal(measured, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert "97.49" in printed
    assert "|" not in printed.replace("│", "")
    assert printed.rstrip().endswith("structure  the same")


def test_demo_fails_with_the_certificate(measured, tmp_path):
    measured[0] = dataclasses.replace(RECORD, certified=False)
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 3
