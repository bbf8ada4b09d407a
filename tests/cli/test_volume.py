"""Every command has -q, -v and --json, and they do what they say."""

import json
from pathlib import Path

import pytest
import tomllib
import typer

from refconv.cli import main
from refconv.cli.app import app
from refconv.data.scenes.making import ScenesRecord

ROOT = Path(__file__).resolve().parents[2]
GROUP = typer.main.get_command(app)
COMMANDS = [
    (name, *rest)
    for name, command in GROUP.commands.items()
    for rest in ([(one,) for one in command.commands] if hasattr(command, "commands") else [()])
]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_the_flags(path):
    command = GROUP
    for name in path:
        command = command.commands[name]
    flags = {name for parameter in command.params for name in parameter.opts}
    assert {"--quiet", "-q", "--verbose", "-v", "--json"} <= flags


def test_quiet_leaves_the_result(tmp_path, capsys, monkeypatch):
    flags = ["--recipe", "digits", "--epochs", "2", "--device", "cpu", "--workers", "0"]
    assert main(["train", *flags, "-q", "--sync-bn", "-o", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    (line,) = captured.out.splitlines()
    assert line.endswith(f"written to {tmp_path / 'run' / 'model'}")
    assert main(["eval", str(tmp_path / "run"), "-q", "--device", "cpu", "--workers", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 1


def test_an_error_is_said_whatever_the_volume(capsys):
    assert main(["eval", "runs/nowhere", "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_verbose_says_where_an_error_comes_from(capsys):
    assert main(["eval", "runs/nowhere", "-v"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("refconv: error: runs/nowhere: no such run")


def test_recipes_come_as_json(capsys, tmp_path):
    assert main(["recipes", "ls", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name": "recipes/digits"}.items() <= next(row for row in rows if row["name"] == "recipes/digits").items()
    assert all(row["about"] for row in rows)
    assert main(["recipes", "show", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == tomllib.loads((ROOT / "recipes/digits.toml").read_text())
    assert main(["recipes", "cp", "digits", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "digits.toml")}


def test_scenes_come_as_json(tmp_path, capsys):
    flags = ["--train", "2", "--val", "0", "--test", "1", "--size", "48", "--source", "digits", "--items", "1"]
    assert main(["data", "scenes", "-o", str(tmp_path / "scenes"), *flags, "--json"]) == 0
    assert ScenesRecord.from_json(capsys.readouterr().out)
