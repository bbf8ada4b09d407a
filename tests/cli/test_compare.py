"""``refconv compare`` from a TOML file to a table, and what it says when it cannot go on."""

import pytest
from typer.testing import CliRunner

from ctrl_c import interrupted
from refconv.cli import main
from refconv.cli.app import app
from refconv.studies import Comparison
from refconv.studies.conduct import Preview
from small_studies import TINY, changed, folders, write


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    path = write(folder, TINY)
    result = CliRunner().invoke(app, ["compare", str(path), "--out", str(folder / "out"), "--threads", "1"])
    assert result.exit_code == 0, result.output
    return path, folder / "out", result.output


def test_compare_ends_with_a_table_a_plot_and_a_record(finished):
    _, out, shown = finished
    found = Comparison.read(out / "comparison.json")
    plain, refocus = found.cells
    assert found.measures == ("top1", "loss", "ece")
    assert "| mobilenet | refocus | lr " in shown
    assert f"{100 * refocus.intervals['top1'].mean:.2f} (" in shown
    assert "mobilenet: refocus minus plain is " in shown
    assert "11 runs, " in shown
    assert "\nAgainst the network before training\n" in shown
    assert "| mobilenet | refocus | top-1" in shown.partition("Against the network before training")[2]
    assert "1/11" in shown
    for name in ("comparison.md", "forest.svg", "forest.png", "study.toml"):
        assert (out / name).stat().st_size > 100
    assert plain.parameters_shipped == refocus.parameters_shipped
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# tiny\n\nSmoke.\n")
    assert "(forest.svg)" in page


def test_progress_says_nothing_about_the_test_split(finished):
    *_, shown = finished
    lines = [line for line in shown.splitlines() if " seed " in line]
    assert len(lines) == 11
    assert all("validation loss" in line and "top-1" not in line for line in lines)


def test_dry_run_counts_runs_and_time_and_writes_nothing(tmp_path, capsys):
    path = write(tmp_path, changed(study={"seeds": 5}))
    assert main(["compare", str(path), "--out", str(tmp_path / "out"), "--dry-run", "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| 5 | final | mobilenet | refocus | 1 | 1,024 |" in shown
    assert "| 6 | base | mobilenet |  | 2 | 2,048 |" in shown
    assert "20 runs, 0 of them done; about " in shown
    assert "timed now" in shown
    assert not (tmp_path / "out").exists()


def test_dry_run_prints_the_plan_as_json(tmp_path, capsys):
    path = write(tmp_path, changed(study={"seeds": 5}))
    assert main(["compare", str(path), "--out", str(tmp_path / "out"), "--dry-run", "--threads", "1", "--json"]) == 0
    found = Preview.from_json(capsys.readouterr().out)
    assert (found.runs, found.over) == (20, 0)
    (row,) = [one for one in found.rows if (one.kind, one.method) == ("final", "refocus")]
    assert (row.runs, row.architecture, row.epochs, row.samples_seen) == (5, "mobilenet", 1, 1024)
    assert sum(one.runs for one in found.rows) == 20


def test_dry_run_of_a_finished_study_has_nothing_to_do(finished, capsys):
    path, out, _ = finished
    assert main(["compare", str(path), "--out", str(out), "--dry-run"]) == 0
    assert "11 runs, 11 of them done; nothing to do, estimated from 11 finished runs" in capsys.readouterr().out


def test_only_runs_what_matches(tmp_path, capsys):
    path = write(tmp_path, changed(study={"seeds": 1}, grid={"lr": [0.05]}))
    assert main(["compare", str(path), "--out", str(tmp_path / "out"), "--only", "*/refocus"]) == 0
    assert sorted(folders(tmp_path / "out")) == ["base/mobilenet/seed-0", "final/mobilenet/refocus/lr-0.05/seed-0"]
    assert [cell.method for cell in Comparison.read(tmp_path / "out/comparison.json").cells] == ["refocus"]
    assert "plain has no result" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tables", "flags", "words"),
    [
        ({"study": {"seedz": 3}}, [], "study.seedz: unknown key; did you mean seeds?"),
        ({}, ["--only", "x/y"], "--only x/y: matches nothing; expected mobilenet/plain, mobilenet/refocus"),
        ({"study": {"name": "a/b"}}, [], "study.name: cannot be the name of a folder"),
        ({}, ["--jobs", "0"], "--jobs"),
        ({"methods": {"big": {"method": "refocs"}}}, [], "methods.big: method: unknown method"),
        ({"base": {"lr": 1e9}}, [], "of the study's runs failed; found base mobilenet seed 0: step"),
    ],
)  # fmt: skip
def test_compare_says_in_one_line_why_it_does_not(tmp_path, monkeypatch, capsys, tables, flags, words):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, changed(**tables))
    out = [] if "name" in tables.get("study", {}) else ["--out", str(tmp_path / "out")]
    assert main(["compare", str(path), *out, *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("refconv: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_default_folder_is_named_after_the_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, changed(study={"seeds": 1}, grid={"lr": [0.05]}, methods={"refocus": None}))
    assert main(["compare", str(path)]) == 0
    assert (tmp_path / "runs/tiny/comparison.json").is_file()


def test_compare_stops_at_ctrl_c_and_goes_on(tmp_path):
    path = write(tmp_path, changed(study={"seeds": 1}, grid={"lr": [0.05]}, methods={"refocus": None}))

    def command(out):
        return ["compare", str(path), "--out", str(tmp_path / out), "--threads", "1", "--jobs", "1"]

    process = interrupted(command("out"), step=20)  # the base takes 16: the next run
    error = process.stderr
    assert process.returncode == 130, error
    assert error.count("\n") == 1
    assert "1 of 2 runs done; the last checkpoints are whole, and the same command goes on" in error
    assert len(folders(tmp_path / "out")) == 1
    assert main(command("out")) == main(command("whole")) == 0
    cells, others = (Comparison.read(tmp_path / out / "comparison.json").cells for out in ("out", "whole"))
    assert [cell.values for cell in cells] == [cell.values for cell in others]
