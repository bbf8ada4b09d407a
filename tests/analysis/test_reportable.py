"""What a report can be made of, told without torch; names that tell pairs apart."""

import subprocess
import sys
from pathlib import Path

import pytest

from refconv.analysis.reportable import holds_analysis, pair_names
from refconv.errors import RunError
from refconv.measures.facts import PairFacts, SideFacts
from refconv.recipe.recipe import Recipe
from report_pairs import run


def files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def test_runs_and_analyses_are_told_apart(tmp_path):
    assert not holds_analysis(files(tmp_path / "run", "recipe.toml", "record.json"))
    assert holds_analysis(files(tmp_path / "analysis", "pair.json"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["recipe.toml", "checkpoint.pt"],
            "the run has not finished; expected a file record.json; refconv train --res",
        ),
        (
            ["recipe.toml"],
            "the run has not finished; .* record.json; without checkpoint.pt nothing brings it back: train",
        ),
        (
            ["recipe.toml", "checkpoint.pt", "model/config.json"],
            "training has finished, but its record.json is missing; expected a file record.json; refconv train --res",
        ),
        (
            ["checkpoint.pt", "record.json"],
            "training has finished, but its recipe.toml is missing; .*; the command that trained the run writes it",
        ),
        (["a/recipe.toml", "a/record.json"], "a folder of runs; name runs in it, such as .*/a$"),
        (["cells/a/1/record.json", "study.toml"], "a folder of runs; name runs in it, such as .*/cells/a/1$"),
        (
            ["improve.json", "report.html", "model/config.json", "runs/round-1/plain/lr-1/record.json"],
            "an improvement; its page is there already: .*report.html; name runs in it, such as .*/lr-1$",
        ),
        (
            ["improve.json", "report.html", "model/config.json"],
            "an improvement; its page is there already: .*report.html$",
        ),
        (
            ["config.json", "model.safetensors", "adopted.json"],
            "neither a run nor an analysis; .*; a model to compare runs with is given by --before .*x, two models by",
        ),
        (
            ["notes.txt"],
            "neither a run nor an analysis; expected record.json or pair.json; name the folder that train, or analyze",
        ),
    ],
    ids=[
        "unfinished",
        "not to be resumed",
        "no record",
        "no recipe",
        "folder",
        "study",
        "improvement",
        "without runs",
        "model",
        "other",
    ],
)
def test_other_folders_are_refused_with_a_way_out(tmp_path, names, message):
    with pytest.raises(RunError, match=message):
        holds_analysis(files(tmp_path / "x", *names))


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError, match="nowhere: no such folder"):
        holds_analysis(tmp_path / "nowhere")


def side(method, space=None, seed=None):
    ran = None if seed is None else run(seed=seed)
    return PairFacts(SideFacts("base"), SideFacts(method=method, space=space, run=ran))


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ([side("plain"), side("refocus")], ["plain", "refocus"]),
        ([side("plain"), side(None)], ["plain", "b"]),
        (
            [side("refocus", "kernel"), side("refocus", "gradient")],
            ["refocus, kernel space", "refocus, gradient space"],
        ),
        ([side("plain", None, 0), side("plain", None, 1)], ["plain, seed 0", "plain, seed 1"]),
        (
            [side("refocus", "kernel", 0), side("refocus", "gradient", 0), side("refocus", "gradient", 1)],
            ["refocus, kernel space", "refocus, gradient space, seed 0", "refocus, gradient space, seed 1"],
        ),
        ([side("plain", None, 0), side("plain", None, 0)], ["plain, a", "plain, b"]),
    ],
)
def test_names_have_as_much_as_tells_them_apart(facts, names):
    assert pair_names(facts, [Path(name) for name in "abc"[: len(facts)]]) == names


def test_names_state_the_settings_of_refocusing_that_are_not_the_default(tmp_path):
    for name, changes in {"usual": {}, "paper": {"gram_scale": "paper", "power": 0.5}}.items():
        (tmp_path / name).mkdir()
        recipe = Recipe(model="resnet18", data="digits", method="refocus", **changes)
        (tmp_path / name / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    folders = [tmp_path / "usual", tmp_path / "paper"]
    assert pair_names([side("refocus"), side("refocus")], folders) == ["refocus", "refocus, paper scale, power 0.5"]


def test_nothing_heavy_is_loaded():
    code = "import sys, refconv.analysis.reportable; print({'torch', 'timm', 'rich'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_hint_to_resume_names_the_trust_that_the_code_of_the_run_needs(tmp_path):
    files(tmp_path, "checkpoint.pt")
    (tmp_path / "recipe.toml").write_text(Recipe(model="my_nets:small", data="digits").to_toml({}), encoding="utf-8")
    with pytest.raises(RunError, match=r"refconv train --resume --trust --out"):
        holds_analysis(tmp_path)
