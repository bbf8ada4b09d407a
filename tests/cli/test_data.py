"""``refconv data scenes`` writes a folder of scenes and says what is in it."""

import pytest

from refconv.cli import main
from refconv.data.scenes import ScenesRecord, scenes_folder

SMALL = ["--source", "digits", "--size", "48", "--train", "2", "--val", "1", "--test", "1"]


@pytest.mark.parametrize(("text", "items"), [("2..3", (2, 3)), ("4", (4, 4))])
def test_scenes_are_written_as_told(tmp_path, capsys, text, items):
    assert main(["data", "scenes", "--out", str(tmp_path / "s"), *SMALL, "--items", text, "--seed", "3"]) == 0
    record = ScenesRecord.read(tmp_path / "s" / "scenes.json")
    assert (record.items, record.seed, record.size, record.source) == (items, 3, 48, "digits")
    assert str(record) in capsys.readouterr().out


def test_scenes_are_written_by_default_where_they_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["data", "scenes", *SMALL]) == 0
    assert scenes_folder("scenes") == tmp_path / "refconv" / "scenes"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--items", "many"], "--items: no range; expected LOW..HIGH, such as 1..6, found 'many'"),
        (["--source", "cifar10"], "unknown source of items; expected fashion-mnist or digits"),
        (["--size", "8"], "32 to 1024 pixels"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, words):
    assert main(["data", "scenes", "--out", str(tmp_path / "s"), *SMALL, *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_help_says_what_is_made_and_no_python(capsys):
    assert main(["data", "scenes", "--help"]) == 0
    text = capsys.readouterr().out
    assert "COCO" in text
    assert "Raises" not in text
