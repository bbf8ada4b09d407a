"""Every flag of timm's train.py is a flag here, a synonym, or says what there is instead.

``timm_flags.txt`` holds their names as of timm 1.0.31.
"""

from pathlib import Path

import pytest
import typer

from refconv.cli import main
from refconv.cli.absent import ABSENT
from refconv.cli.app import app
from refconv.cli.options import flag
from refconv.recipe.fields import Settings
from refconv.recipe.timm_names import TIMM_NAMES

FLAGS = Path(__file__).with_name("timm_flags.txt").read_text().split()
COMMAND = typer.main.get_command(app).commands["train"]
HERE = {name for parameter in COMMAND.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_list_is_that_of_the_program():
    assert len(FLAGS) == len(set(FLAGS)) > 170


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_is_handled_once(name):
    name = name.replace("_", "-")
    assert (name in HERE) != (name in ABSENT), name


def test_nothing_is_absent_or_a_synonym_that_timm_does_not_have():
    timms = {name.replace("_", "-") for name in FLAGS}
    assert set(ABSENT) <= timms
    assert {flag(name) for name in TIMM_NAMES} - timms == {"--tensorboard"}


def test_what_there_is_instead_is_there():
    words = " ".join(ABSENT.values()).replace(";", " ").replace(",", " ").replace(":", " ").split()
    named = {word for word in words if word.startswith("--")}
    assert named - HERE == {"--format"}  # of refconv export


def test_a_synonym_gives_settings_that_exist():
    assert all(field in Settings.__dataclass_fields__ for one in TIMM_NAMES.values() for field in one.fields)
    assert not set(TIMM_NAMES) & set(Settings.__dataclass_fields__)


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_an_absent_flag_says_so_in_one_line(name, capsys):
    assert main(["train", name, "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"refconv: error: {name}: unknown flag; ")
    assert ABSENT[name] in said
    assert said.count("\n") == 1
