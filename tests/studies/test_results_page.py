"""The page of results shows its records and nothing else."""

import functools
import importlib
from pathlib import Path

import pytest

from refconv.studies import Comparison
from small_studies import comparison

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("results")


@functools.cache
def committed():
    """Return the committed records, with their statistics computed anew."""
    return importlib.import_module("results").read_records(ROOT / "studies" / "records")


def test_the_page_shows_the_committed_records(results):
    records = committed()
    assert records
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page(records)
    for record in records:
        assert (ROOT / "docs" / "results" / f"{record.name}.svg").is_file() == bool(record.contrasts)


def test_records_are_of_the_committed_studies(results):
    for record in committed():
        assert record.study == (ROOT / "studies" / f"{record.name}.toml").read_text(encoding="utf-8")
        assert record.missing == {}


def test_overview_counts_architectures_on_each_side_of_zero(results):
    plain = {"top1": (0.90, 0.91, 0.92, 0.90, 0.91)}
    noise = (0.001, 0.0, 0.002, 0.001, 0.0)
    up, down, open_ = ({"top1": tuple(v + s + e for v, e in zip(plain["top1"], noise, strict=True))}
                       for s in (0.02, -0.02, -0.001))  # fmt: skip
    few = [{"top1": values["top1"][:4]} for values in (plain, up)]
    found = comparison(
        {("a", "plain"): plain, ("a", "new"): up, ("b", "plain"): plain, ("b", "new"): up, ("c", "plain"): plain,
         ("c", "new"): down, ("d", "plain"): plain, ("d", "new"): open_, ("e", "plain"): few[0], ("e", "new"): few[1]},
        measures=("top1",),
    )  # fmt: skip
    assert "| new minus plain | top-1 | 2 of 5 | 1 of 5 | 1 of 5 | 1 of 5 |" in results.overview([found])


def test_committed_records_hold_the_statistics_of_their_values(results):
    for record in committed():
        assert record == Comparison.read(ROOT / "studies" / "records" / f"{record.name}.json")
        assert all(cell.test_samples for cell in record.cells)


def test_summary_gives_the_verdict_and_the_rows_of_refocusing_alone(results):
    values = {"top1": (0.90, 0.91, 0.92), "loss": (0.3, 0.31, 0.3)}
    cells = {("a", name): values for name in ("plain", "refocus", "refocus-half", "low_rank")}
    text = results.summary([comparison(cells, name="main", measures=("top1",))])
    assert "**This was not reached.**" in text
    shown = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| [main](docs/results.md#main)")]
    assert shown == ["refocus minus plain", "refocus-half minus plain"]


def test_records_are_taken_over_and_drawn(results, tmp_path, monkeypatch):
    values = {"top1": (0.90, 0.91, 0.92)}
    found = comparison({("a", "plain"): values, ("a", "new"): values}, measures=("top1",), study="[study]")
    (tmp_path / "run").mkdir()
    found.write(tmp_path / "run" / "comparison.json")
    for name, path in (("RECORDS", "records"), ("PLOTS", "plots"), ("PAGE", "page.md"), ("README", "README.md")):
        monkeypatch.setattr(results, name, tmp_path / path)
    (tmp_path / "README.md").write_text(
        "<!-- generated: found by a command -->\n<!-- end: found -->\n", encoding="utf-8"
    )
    monkeypatch.setattr("sys.argv", ["results.py"])
    with pytest.raises(SystemExit, match="no records"):
        results.main()
    monkeypatch.setattr("sys.argv", ["results.py", "--take", str(tmp_path / "run")])
    results.main()
    assert results.summary([found]) in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert Comparison.read(tmp_path / "records" / "by hand.json") == found
    assert (tmp_path / "plots" / "by hand.svg").is_file()
    assert "## by hand" in (tmp_path / "page.md").read_text(encoding="utf-8")
