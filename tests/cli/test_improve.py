"""``refconv improve`` and ``refconv demo`` on the command line; the job itself is tested in tests/improvement."""

import dataclasses

import pytest

from improvement_records import record
from refconv.cli import main
from refconv.improvement import ImproveRecord
from refconv.improvement.looking import said
from refconv.improvement.record import SearchPlan
from refconv.improvement.verdict import markdown
from run_checkpoints import save_run, small_recipe

NEEDED = ["--model", "m", "--data", "digits", "--checkpoint", "w.pth", "--budget", "9ep", "--out", "runs/out"]


@pytest.fixture
def called(monkeypatch):
    seen = {}

    def run(recipe, out, config, *, given):
        seen.update(recipe=recipe, out=out, config=config, given=given)
        return seen.get("record", record())

    monkeypatch.setattr("refconv.improvement.improve_recipe", run)
    return seen


def test_flags_become_recipe_and_configuration(called):
    more = ["--lr", "0.02", "--contender", "plain", "--contender", "refocus*", "--teacher", "base", "--jobs", "2"]
    assert main(["improve", *NEEDED, *more, "--no-check"]) == 0
    config = called["config"]
    assert (config.contenders, config.teacher, config.jobs) == (("plain", "refocus*"), "base", 2)
    assert not config.check
    assert called["recipe"].lr == 0.02
    assert set(called["given"]) == {"model", "data", "checkpoint", "lr"}


def test_the_result_is_shown_as_markdown_in_a_pipe(called, capsys):
    assert main(["improve", *NEEDED]) == 0
    assert capsys.readouterr().out == f"\n{markdown(record())}\n\nruns/out: model, report.html, improve.json\n"


def test_the_result_is_drawn_in_a_terminal(called, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["improve", *NEEDED]) == 0
    printed = capsys.readouterr().out
    assert "90.00" in printed
    assert "|" not in printed.replace("│", "")


def test_a_certificate_that_does_not_hold_has_a_status_of_its_own(called):
    broken = dataclasses.replace(record().certificate, reordered=True)
    called["record"] = dataclasses.replace(record(), certificate=broken)
    assert main(["improve", *NEEDED]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "digits", "--budget", "9ep", "--out", "x"], "--model: missing; give it, or a whole recipe by"),
        (["--model", "m", "--budget", "9ep", "--out", "x"], "--data: missing"),
        ([*NEEDED, "--method", "refocus"], "--method: unknown flag"),
        ([*NEEDED[:6], "--budget", "soon", "--out", "x"], "budget: not a budget"),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    assert main(["improve", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_the_demo_improves_a_small_network(tmp_path, monkeypatch, capsys):
    from refconv.improvement.demo import demo

    monkeypatch.setattr(
        "refconv.improvement.demo.demo", lambda out, say, show: demo(out, epochs=1, budget="3ep", show=False, say=say)
    )
    monkeypatch.setattr("refconv.improvement.looking.at_chance", lambda *_: None)
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert "structure  the same" in printed
    assert ImproveRecord.read(tmp_path / "demo" / "improve" / "improve.json").winner


def test_json_is_all_that_is_printed(called, capsys):
    assert main(["improve", *NEEDED, "--json"]) == 0
    assert capsys.readouterr().out == record().to_json()
    assert not called["config"].show


def test_a_dry_run_prints_the_plan(called, capsys, monkeypatch):
    plan = dataclasses.replace(record().plan, recipe={**record().plan.recipe, "batch_size": 16})
    monkeypatch.setattr("refconv.improvement.improving.plan_improvement", lambda *_, **given: plan)
    assert main(["improve", *NEEDED, "--json", "--dry-run"]) == 0
    assert SearchPlan.from_json(capsys.readouterr().out) == plan
    assert main(["improve", *NEEDED, "-q", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == said(plan)


def test_the_run_that_is_improved_names_its_network(called, tmp_path):
    save_run(tmp_path / "run", small_recipe())
    known = ["--data", "digits", "--budget", "1h30m", "--out", "out", "--checkpoint", str(tmp_path / "run")]
    assert main(["improve", *known]) == 0
    recipe = called["recipe"]
    assert (recipe.model, recipe.model_kwargs) == (small_recipe().model, small_recipe().model_kwargs)
    assert called["config"].budget.amount == 5400


def test_what_a_recipe_gives_was_chosen_by_the_user(called, tmp_path):
    (tmp_path / "r.toml").write_text('model = "m"\ndata = "digits"\ncheckpoint = "w.pth"\nbatch_size = 8\n')
    assert main(["improve", "--recipe", str(tmp_path / "r.toml"), "--budget", "9ep", "-o", "x", "--lr", "1"]) == 0
    assert set(called["given"]) == {"model", "data", "checkpoint", "batch_size", "lr"}
