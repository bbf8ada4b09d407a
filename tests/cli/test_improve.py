"""``refconv improve`` and ``refconv demo`` on the command line; the job itself is tested in tests/improvement."""

import dataclasses

import pytest

from improvement_records import record
from refconv.cli import main
from refconv.improvement import ImproveRecord
from refconv.improvement.verdict import markdown

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
    assert main(["improve", *NEEDED, *more, "--dry-run", "--no-check"]) == 0
    config = called["config"]
    assert (config.contenders, config.teacher, config.jobs) == (("plain", "refocus*"), "base", 2)
    assert (config.dry_run, config.check) == (True, False)
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
        "refconv.improvement.demo.demo", lambda out, say: demo(out, epochs=1, budget="3ep", show=False, say=say)
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
    assert main(["improve", *NEEDED, "--json", "--dry-run"]) == 2
    assert "--json: has no effect with --dry-run" in capsys.readouterr().err
