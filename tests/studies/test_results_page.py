"""The pages of results show their records and nothing else."""

import dataclasses

import pytest

from benchmark_scripts import ROOT, figures, script
from refconv.studies import Comparison
from small_studies import comparison


@pytest.fixture(scope="module")
def results():
    return script("results")


@pytest.fixture(scope="module")
def committed(results):
    """Return the committed records, with their statistics computed anew."""
    return results.read_records(ROOT / "studies" / "records")


def test_the_pages_show_the_committed_records(results, committed):
    folder = ROOT / "docs" / "results"
    pages = results.pages(committed)
    assert set(pages) == {path.name for path in folder.glob("*.md")} > {"index.md", "questions.md"}
    for name, text in pages.items():
        assert figures((folder / name).read_text(encoding="utf-8")) == figures(text), name
    for record in committed:
        assert (folder / f"{record.name}.svg").is_file() == bool(record.contrasts)
        assert pages[f"{record.name}.md"].startswith(f"# Study: {record.name}\n")
        assert f"[{record.name}]({record.name}.md)" in pages["index.md"]


def test_records_are_of_the_committed_studies(committed):
    assert committed
    for record in committed:
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


def test_committed_records_hold_the_statistics_of_their_values(committed):
    for record in committed:
        path = ROOT / "studies" / "records" / f"{record.name}.json"
        written = Comparison.read(path)
        assert written.to_json() == path.read_text(encoding="utf-8")
        assert all(cell.test_samples for cell in record.cells)
        # The last digit of a bound depends on the version of scipy.
        found, known = ([contrast.bootstrap for contrast in one.contrasts] for one in (record, written))
        for ours, theirs in zip(found, known, strict=True):
            assert (ours.low is None) == (theirs.low is None)
            assert (ours.low or 0, ours.high or 0) == pytest.approx((theirs.low or 0, theirs.high or 0), rel=1e-9)
        same = (dataclasses.replace(a, bootstrap=b) for a, b in zip(record.contrasts, known, strict=True))
        assert dataclasses.replace(record, contrasts=tuple(same)) == written


def test_summary_gives_the_verdict_and_what_follows_from_it(results):
    plain = {"top1": (0.90, 0.91, 0.92, 0.90, 0.91), "loss": (0.3, 0.31, 0.3, 0.3, 0.31)}
    noise = (0.001, 0.0, 0.002, 0.001, 0.0)
    better = {**plain, "top1": tuple(value + 0.02 + more for value, more in zip(plain["top1"], noise, strict=True))}
    for gain, verdict in ((plain, "was not reached"), (better, "was reached")):
        cells = {(name, method): values for name in "abcd" for method, values in (("plain", plain), ("refocus", gain))}
        text = results.summary([comparison(cells, name="main", measures=("top1",))], "results/index.md")
        assert f"**This {verdict}.**" in text
        assert ("No setting of refocusing is therefore recommended" in text) == (gain is plain)
        verdict_and_advice, sentences, regimes, _ = text.split("\n\n")
        assert verdict_and_advice.endswith("[All results](results/index.md).")
        places = "nowhere" if gain is plain else "the data of the base (4 of 4)"
        first, second = sentences.splitlines()
        assert first.endswith(f"excludes zero: {places}.")
        assert second.endswith("excludes zero: nowhere.")
        shown = "+0.00 | 0 of 4 | 0 of 4 | 0 of 4" if gain is plain else "+2.08 | 4 of 4 | 0 of 4 | 4 of 4"
        assert regimes.splitlines()[2:] == [f"| small networks, the data of the base | {shown} |  |"]


def test_records_are_taken_over_and_drawn(results, tmp_path, monkeypatch):
    values = {"top1": (0.90, 0.91, 0.92)}
    found = comparison({("a", "plain"): values, ("a", "new"): values}, measures=("top1",), study="[study]")
    (tmp_path / "run").mkdir()
    found.write(tmp_path / "run" / "comparison.json")
    for name, path in (("RECORDS", "records"), ("PAGES", "pages")):
        monkeypatch.setattr(results, name, tmp_path / path)
    monkeypatch.setattr(results, "SUMMARIES", {tmp_path / "README.md": "pages/index.md"})
    (tmp_path / "README.md").write_text(
        "<!-- generated: found by a command -->\n<!-- end: found -->\n", encoding="utf-8"
    )
    monkeypatch.setattr("sys.argv", ["results.py"])
    with pytest.raises(SystemExit, match="no records"):
        results.main()
    monkeypatch.setattr("sys.argv", ["results.py", "--take", str(tmp_path / "run")])
    results.main()
    assert results.summary([found], "pages/index.md") in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert Comparison.read(tmp_path / "records" / "by hand.json") == found
    assert (tmp_path / "pages" / "by hand.svg").is_file()
    assert "# Study: by hand" in (tmp_path / "pages" / "by hand.md").read_text(encoding="utf-8")
