"""``refconv report``: runs against their bases, or analyses that are there, as one page; mistakes in one line."""

import json
import subprocess
import sys

import pytest
import torch

from finished_runs import finished_run
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.cli import main
from refconv.measures.facts import FACTS_FILE
from refconv.report import read_pair
from run_checkpoints import save_run, small_recipe

QUICK = ["--only", "agreement", "--only", "skeleton", "--samples", "40", "--device", "cpu"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A base and two runs that came of it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    finished_run(tmp_path / "base", small_recipe(method="plain"))
    for method in ("plain", "refocus"):
        space = {} if method == "refocus" else {"space": "auto"}
        finished_run(tmp_path / method, small_recipe(method=method, checkpoint="base", **space))
    return tmp_path


def facts_of(folder):
    return json.loads((folder / "analysis" / FACTS_FILE).read_text())


def fails(capsys, *arguments):
    """Return the one line that a command says before it fails."""
    capsys.readouterr()
    assert main(["report", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("refconv: error: ")
    assert error.count("\n") == 1
    return error


def test_runs_of_one_base_stand_on_one_page_with_what_the_recipes_say(runs, capsys):
    assert main(["report", "plain", "refocus", "-o", "new/page.html", "--title", "Two ways", *QUICK]) == 0
    captured = capsys.readouterr()
    page = (runs / "new/page.html").read_text(encoding="utf-8")
    assert "<title>Two ways" in page
    assert captured.out.startswith("plain: ")
    assert "\nrefocus: " in captured.out
    assert "new/page.html: 2 measures" in captured.out
    assert [line for line in captured.err.splitlines() if ": images: " not in line] == [
        f"{run}: {words}"
        for run in ("plain", "refocus")
        for words in (
            "2 measures, 1 of them on data: about 60 seconds, or what the fewest samples take",
            "measuring skeleton ... (1 of 2)",
            "measuring agreement ... (2 of 2)",
        )
    ]
    assert captured.err.count("images: L, 8 x 8 px") == 2
    for run in ("plain", "refocus"):
        facts = facts_of(runs / run)
        assert (facts["before"]["reference"], facts["after"]["reference"]) == ("base", run)
        assert (facts["data"]["name"], facts["data"]["max_seconds"]) == ("digits", 60.0)
        assert facts["after"]["run"]["top1"] == 0.5
        assert facts["samples"] == {"agreement": 40}


def test_the_page_of_one_run_lies_in_it_and_records_are_used_again(runs, capsys):
    assert main(["report", "refocus", *QUICK]) == 0
    assert (runs / "refocus/report.html").is_file()
    first = capsys.readouterr()
    assert first.err.count("measuring") == 2
    assert main(["report", "refocus", *QUICK, "--only", "movement"]) == 0
    there, measuring = capsys.readouterr().err.splitlines()
    assert there.startswith("refocus: 2 of 3 measures are there already, of the same weights, data and settings; ")
    assert measuring == "refocus: measuring movement ... (1 of 1)"
    assert set(read_pair(runs / "refocus/analysis").records) == {"agreement", "skeleton", "movement"}
    assert main(["report", "refocus", *QUICK, "--again"]) == 0
    again = capsys.readouterr()
    assert (again.err, again.out) == (first.err, first.out)
    assert set(read_pair(runs / "refocus/analysis").records) == {"agreement", "skeleton"}


def test_flags_say_how_images_are_read_and_other_flags_measure_anew(runs, capsys):
    dark = ["--mean", "0.9", "--std", "0.1"]
    assert main(["report", "refocus", *QUICK]) == 0
    own = capsys.readouterr().err
    assert main(["report", "refocus", *QUICK, *dark]) == 0
    said = capsys.readouterr().err
    assert said.startswith("refocus: images: L, 8 x 8 px, ")
    assert "mean 0.9, std 0.1 (flags)" in said
    assert "mean 0.9" not in own
    assert said.count("measuring") == 2
    facts = facts_of(runs / "refocus")
    assert facts["data"]["flags"] == {"mean": "(0.9,)", "std": "(0.1,)"}
    assert facts["images"] in said
    assert main(["report", "refocus", *QUICK, *dark]) == 0
    assert "measuring" not in capsys.readouterr().err
    assert facts_of(runs / "refocus")["images"] == facts["images"]
    assert "mean 0.9, std 0.1" in (runs / "refocus/report.html").read_text(encoding="utf-8")
    assert "--mean: has no effect on analyses" in fails(capsys, "refocus/analysis", *dark)


def test_one_measure_alone_is_shown_also_where_more_are_known(runs, capsys):
    assert main(["report", "refocus", *QUICK]) == 0
    assert main(["report", "refocus/analysis", "--only", "skeleton"]) == 0
    assert "refocus/analysis/report.html: 1 measure," in capsys.readouterr().out
    said = fails(capsys, "refocus/analysis", "--only", "attacks")
    assert "--only: no such measure; expected skeleton, agreement, found attacks" in said


def test_analyses_are_shown_without_torch(runs):
    assert main(["report", "refocus", *QUICK]) == 0
    code = (
        "import sys\nfrom refconv.cli import main\n"
        "status = main(['report', 'refocus/analysis', '-o', 'page.html'])\n"
        "print(status, {'torch', 'timm', 'captum'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 set()", done.stderr
    assert (runs / "page.html").is_file()


def test_without_data_there_are_the_weights_and_it_is_said(runs, capsys):
    finished_run(runs / "lost", small_recipe(checkpoint="base", data="folder:nowhere"))
    assert main(["report", "lost"]) == 0
    captured = capsys.readouterr()
    assert "lost: weights only; " in captured.err
    assert "nowhere" in captured.err
    facts = facts_of(runs / "lost")
    assert (set(facts["measured"]), set(facts["left_out"])) == (set(WEIGHT_MEASURES), set(DATA_MEASURES))
    assert facts["data"] is None
    assert "--only: nothing is left to measure" in fails(capsys, "lost", "--only", "attacks")
    assert "nowhere" in fails(capsys, "refocus", "--data", "folder:nowhere")
    assert main(["report", "refocus", "--weights"]) == 0
    assert facts_of(runs / "refocus")["left_out"] == {}
    assert "weights only" not in capsys.readouterr().err
    assert main(["report", "refocus", "--json", "-q", *QUICK]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert (found["page"], set(found["results"])) == ("refocus/report.html", {"refocus"})
    assert found["measures"]


def test_a_classifier_that_was_started_anew_has_no_measures_with_data(runs, capsys):
    finished_run(runs / "anew", small_recipe(checkpoint="base", reset_classifier=True))
    assert main(["report", "anew"]) == 0
    assert "anew: weights only; the run started its classifier anew" in capsys.readouterr().err
    assert main(["report", "anew", "--before", "plain", *QUICK]) == 0  # which knows the classes
    assert "weights only" not in capsys.readouterr().err
    assert facts_of(runs / "anew")["samples"] == {"agreement": 40}


def test_the_base_can_be_named(runs, capsys):
    finished_run(runs / "scratch", small_recipe(method="plain", space="auto"))
    assert "trained from scratch, so there is no model before it; name the one to" in fails(capsys, "scratch")
    assert main(["report", "scratch", "--before", "plain", *QUICK]) == 0
    assert facts_of(runs / "scratch")["before"]["reference"] == "plain"
    finished_run(runs / "moved", small_recipe(checkpoint="elsewhere/base"))
    said = fails(capsys, "moved")
    assert "the model that the run started from is not there; expected elsewhere/base; name it by --before" in said


def test_runs_of_other_bases_are_refused_before_anything_is_measured(runs, capsys):
    finished_run(runs / "other", small_recipe(checkpoint="plain"))
    said = fails(capsys, "refocus", "other", *QUICK)
    assert "other: the runs started from different models; expected base, as refocus, found plain" in said
    assert not (runs / "refocus/analysis").exists()


def test_a_copy_of_the_base_is_the_same_base(runs):
    finished_run(runs / "other", small_recipe(checkpoint="base/model"))
    assert main(["report", "refocus", "other", *QUICK]) == 0
    assert (runs / "report.html").is_file()


def test_mistakes_are_one_line(runs, capsys):
    save_run(runs / "unfinished", small_recipe(checkpoint="base"), finished=False)
    assert "nowhere: no such folder" in fails(capsys, "nowhere")
    assert "unfinished: the run has not finished" in fails(capsys, "unfinished")
    assert ".: a folder of runs; name runs in it, such as base" in fails(capsys, ".")
    assert "--only: no such measure; expected redundancy" in fails(capsys, "refocus", "--only", "colour")
    assert "--weights: " in fails(capsys, "refocus", "--weights", "--data", "digits")
    assert "refocus/../refocus: named more than once" in fails(capsys, "refocus", "refocus/../refocus")
    assert "base: cannot be written: a folder is there" in fails(capsys, "refocus", "-o", "base")
    assert "record.json: holds something other than a report" in fails(capsys, "refocus", "-o", "refocus/record.json")
    assert not (runs / "refocus/analysis").exists()  # nothing was measured so far
    assert main(["report", "refocus", *QUICK]) == 0
    capsys.readouterr()
    assert "--before: has no effect on analyses" in fails(capsys, "refocus/analysis", "--before", "base")
    (runs / "refocus/analysis/skeleton.json").write_text("{")
    said = fails(capsys, "refocus/analysis")
    assert "refocus/analysis/skeleton.json: cannot read a record" in said
    assert "analyse again" in said
    assert main(["report", "refocus", *QUICK]) == 0  # of a run, what is damaged is measured again
