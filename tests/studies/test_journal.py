"""The journal: a study goes on elsewhere from one small file, and trains a base again only where one is needed."""

import json
import shutil
from pathlib import Path

import pytest

from refconv.engine.loop import train
from refconv.errors import StudyError
from refconv.studies import CompareConfig, compare, execution as executing
from refconv.studies.conduct import preview
from refconv.studies.execution import DIVERGED_FILE
from small_studies import folders, study


@pytest.fixture(scope="module")
def noted(tmp_path_factory):
    """Return a finished study with one setting that diverges, its folder, its results and its journal."""
    folder = tmp_path_factory.mktemp("noted")
    read = study(folder, grid={"lr": [0.01, 1e9]}, study={"seeds": 1})
    return (
        read,
        folder / "out",
        compare(read, folder / "out", CompareConfig(journal=folder / "runs.jsonl")),
        folder / "runs.jsonl",
    )


def trained(monkeypatch):
    """Return a list that names every run that is trained from now on."""
    names = []

    def noting(recipe, out, **rest):
        names.append(str(out))
        return train(recipe, out, **rest)

    monkeypatch.setattr(executing, "train", noting)
    return names


def test_the_journal_notes_every_run_that_is_over(noted):
    _, out, _, journal = noted
    entries = {entry["run"]: entry for entry in map(json.loads, journal.read_text().splitlines())}
    diverged = {str(path.parent.relative_to(out)) for path in out.rglob(DIVERGED_FILE)}
    assert entries.keys() == folders(out).keys() | diverged
    assert diverged == {name for name, entry in entries.items() if entry["record"] is None}
    assert "not finite" in entries[min(diverged)]["diverged"]
    assert list(entries) == sorted(entries)
    assert journal.stat().st_size < 3000 * len(entries)


def test_a_study_with_a_full_journal_runs_nothing_elsewhere_and_finds_the_same(noted, tmp_path, monkeypatch):
    read, _, found, journal = noted
    names = trained(monkeypatch)
    again = compare(read, tmp_path / "out", CompareConfig(journal=journal))
    assert names == []
    assert [cell.values for cell in again.cells] == [cell.values for cell in found.cells]
    assert again.bases == found.bases


def test_a_preview_counts_what_the_journal_notes_and_writes_nothing(noted, tmp_path):
    read, out, _, journal = noted
    lines = journal.read_text().splitlines()
    elsewhere = tmp_path / "out"
    plan = preview(read, elsewhere, CompareConfig(journal=journal))
    assert (plan.runs, plan.over) == (len(lines), len(lines))
    assert "nothing to do" in str(plan)
    assert not elsewhere.exists()
    assert preview(read, elsewhere, CompareConfig(journal=tmp_path / "none.jsonl")).over == 0
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(line for line in lines if '"run": "final/mobilenet/refocus' not in line) + "\n")
    assert preview(read, elsewhere, CompareConfig(journal=part)).over == len(lines) - 1
    assert preview(read, out, CompareConfig(journal=part)).over == len(lines)  # its folder holds the other one
    assert not elsewhere.exists()


def test_a_preview_names_the_folder_of_the_study_where_the_journal_is_of_another(noted, tmp_path):
    other = study(tmp_path, grid={"lr": [0.01, 1e9]}, study={"seeds": 1}, recipe={"smoothing": 0.2})
    with pytest.raises(StudyError, match=r"^out/base/mobilenet/seed-\d+: the folder holds a run with other settings"):
        preview(other, Path("out"), CompareConfig(journal=noted[3]))


def test_a_missing_run_has_its_base_trained_again_and_no_other(noted, tmp_path, monkeypatch):
    read, _, found, journal = noted
    lines = [line for line in journal.read_text().splitlines() if '"run": "final/mobilenet/refocus' not in line]
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(lines) + "\n")
    names = trained(monkeypatch)
    again = compare(read, tmp_path / "out", CompareConfig(journal=part))
    assert [name.removeprefix(str(tmp_path)) for name in names] == [
        "/out/base/mobilenet/seed-0",
        "/out/final/mobilenet/refocus/lr-0.01/seed-0",
    ]
    assert [cell.values for cell in again.cells] == [cell.values for cell in found.cells]
    assert sorted(part.read_text().splitlines()) != sorted(lines)
    assert len(part.read_text().splitlines()) == len(lines) + 1


def test_runs_on_disk_are_noted_in_a_new_journal(noted, tmp_path, monkeypatch):
    read, out, _, journal = noted
    names = trained(monkeypatch)
    shutil.copytree(out, tmp_path / "out")
    compare(read, tmp_path / "out", CompareConfig(journal=tmp_path / "new" / "runs.jsonl"))
    assert names == []
    assert (tmp_path / "new" / "runs.jsonl").read_text() == journal.read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1: a damaged entry of the journal"),
        ('{"run": "../elsewhere", "recipe": {}, "record": null, "diverged": ""}', "is outside of the study's folder"),
        ('{"run": "base/a/seed-0", "recipe": {"modl": "m"}, "record": null, "diverged": "x"}', "unknown key"),
        ('{"run": "base/a/seed-0"}', "'recipe'"),
    ],
)
def test_a_damaged_journal_is_said(noted, tmp_path, line, words):
    read, *_ = noted
    (tmp_path / "runs.jsonl").write_text(line + "\n")
    with pytest.raises(StudyError, match=words):
        compare(read, tmp_path / "out", CompareConfig(journal=tmp_path / "runs.jsonl"))


def test_a_journal_of_other_settings_is_refused(noted, tmp_path):
    *_, journal = noted
    other = study(tmp_path, grid={"lr": [0.01, 1e9]}, study={"seeds": 1}, recipe={"batch_size": 32})
    with pytest.raises(StudyError, match="batch_size"):
        compare(other, tmp_path / "out", CompareConfig(journal=journal))
