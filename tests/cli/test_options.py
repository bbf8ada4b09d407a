"""Flags are the fields of the recipe, and what they carry arrives as in a recipe."""

import dataclasses
import typing

import pytest
import typer
from torch.distributed.run import get_args_parser

from refconv.cli import main
from refconv.cli.app import app
from refconv.cli.options import COMMON, flag, from_text
from refconv.errors import SettingError
from refconv.recipe.recipe import Recipe

HINTS = typing.get_type_hints(Recipe)


@pytest.fixture
def trained(monkeypatch):
    """Catch the recipe that ``refconv train`` would train."""
    calls = []
    loop = type(
        "Loop", (), {"train": staticmethod(lambda recipe, out, resume, show: calls.append((recipe, out, resume)))}
    )
    monkeypatch.setitem(__import__("sys").modules, "refconv.engine.loop", loop)
    return calls


def test_train_has_a_flag_for_every_field():
    command = typer.main.get_command(app).commands["train"]
    flags = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for field in dataclasses.fields(Recipe):
        assert flag(field.name) in flags
        if HINTS[field.name] is bool:
            assert flag(f"no_{field.name}") in flags


def test_after_two_dashes_torchrun_passes_every_flag_on():
    """As the page on several processes gives the command; without them torchrun takes some for its own."""
    command = typer.main.get_command(app).commands["train"]
    flags = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    given = get_args_parser().parse_args(["--nproc-per-node", "2", "-m", "--", "refconv", "train", *flags])
    assert (given.module, given.training_script, given.training_script_args) == (True, "refconv", ["train", *flags])


def test_train_help_groups_and_explains_the_flags(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    assert main(["train", "--help-all"]) == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(Recipe):
        assert field.metadata["help"][:30] in text, field.name
        assert field.metadata["group"].capitalize() in text


def test_the_short_help_names_what_is_common_and_the_long_one(capsys):
    assert main(["train", "--help"]) == 0
    short = capsys.readouterr().out
    assert all(flag(name) in short for name in ("model", "data", "lr", "epochs", "method"))
    assert "--help-all" in short
    assert "--mixup-switch-prob" not in short
    assert len(short.splitlines()) < 100
    assert {field.name for field in dataclasses.fields(Recipe)} >= COMMON
    assert main(["train", "--mixup-switch-prob", "2"]) == 2


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-2", 0.01),
        ("epochs", "3", 3),
        ("epochs", "three", "three"),
        ("clip_grad", "none", None),
        ("clip_grad", "2", 2.0),
        ("distill", "None", None),
        ("map_size", "5", (5,)),
        ("map_size", "3,1", (3, 1)),
        ("mean", "0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("scale", ("0.1", "1"), (0.1, 1.0)),
        ("include", ["blocks.*", "depthwise"], ("blocks.*", "depthwise")),
        ("amp", True, True),
        ("model", "a:b", "a:b"),
        ("model_kwargs", ["a=2", "b=x", "c=true", "d=[1,2]", "e=none", "f=a=b"],
         {"a": 2, "b": "x", "c": True, "d": [1, 2], "e": None, "f": "a=b"}),
    ],
)  # fmt: skip
def test_from_text_gives_the_type_of_the_field(name, text, value):
    assert from_text(name, HINTS[name], text) == value


def test_from_text_names_a_broken_entry():
    with pytest.raises(SettingError, match="--model-kwargs: not an entry of a table; expected key=value, found 'x'"):
        from_text("model_kwargs", HINTS["model_kwargs"], ["x"])


def test_train_hands_over_the_flags(trained, tmp_path):
    arguments = ["train", "-o", str(tmp_path / "run"), "--model", "test_resnet", "--data", "digits", "--amp",
                 "--no-filter-bias-and-bn", "--scale", "0.2", "1", "--map-size", "3,1", "--include", "a", "--include",
                 "b", "--model-kwargs", "output_stride=16", "--method", "refocus"]  # fmt: skip
    assert main(arguments) == 0
    ((recipe, out, resume),) = trained
    expected = Recipe(
        model="test_resnet", data="digits", amp=True, filter_bias_and_bn=False, scale=(0.2, 1.0), map_size=(3, 1),
        include=("a", "b"), model_kwargs={"output_stride": 16}, method="refocus",
    )  # fmt: skip
    assert recipe == expected
    assert (out, resume) == (tmp_path / "run", False)


def test_timms_names_are_understood(trained, tmp_path):
    arguments = ["train", "-o", str(tmp_path / "run"), "--model", "test_resnet", "--data", "digits"]
    assert main([*arguments, "--initial-checkpoint", "weights.pt", "--reprob", "0.2"]) == 0
    assert main([*arguments, "--checkpoint", "weights.pt", "--re-prob", "0.2"]) == 0
    timms, ours = (recipe for recipe, _, _ in trained)
    assert timms == ours
    assert (ours.checkpoint, ours.re_prob) == ("weights.pt", 0.2)


def test_train_lets_flags_override_the_recipe(trained, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(Recipe(model="test_resnet", data="digits", lr=0.5, epochs=7, amp=True, clip_grad=1.0).to_toml())
    flags = ["--epochs", "9", "--no-amp", "--clip-grad", "none"]
    assert main(["train", "-o", str(tmp_path / "run"), "--recipe", str(file), *flags]) == 0
    ((recipe, _, _),) = trained
    assert (recipe.lr, recipe.epochs, recipe.amp, recipe.clip_grad) == (0.5, 9, False, None)


def test_train_resumes_with_the_runs_own_recipe(trained, tmp_path):
    (tmp_path / "recipe.toml").write_text(Recipe(model="test_resnet", data="digits", lr=0.5).to_toml())
    assert main(["train", "-o", str(tmp_path), "--resume", "--workers", "1"]) == 0
    ((recipe, _, resume),) = trained
    assert (recipe.lr, recipe.workers, resume) == (0.5, 1, True)


def test_train_refuses_unknown_keys_of_a_recipe(trained, tmp_path, capsys):
    file = tmp_path / "recipe.toml"
    file.write_text('model = "test_resnet"\ndata = "digits"\nlearning_rat = 1.0\nepoch = 3\n')
    assert main(["train", "-o", str(tmp_path / "run"), "--recipe", str(file)]) == 2
    assert "unknown key" in capsys.readouterr().err
    assert trained == []


def test_brackets_in_help_are_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert main(["export", "--help"]) == 0
    assert "[batch, height, width, 3]" in capsys.readouterr().out
