"""``refconv recipes`` on the command line."""

from refconv.cli import main
from refconv.recipe.shipped import shipped


def test_they_are_listed_shown_and_copied(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "ls"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(shipped("recipes")) + len(shipped("studies"))
    assert listed[0].startswith("recipes/detection")
    text = shipped("recipes")["digits"].read_text(encoding="utf-8")
    assert main(["recipes", "show", "digits"]) == 0
    assert capsys.readouterr().out == text
    assert main(["recipes", "cp", "digits"]) == 0
    assert (tmp_path / "digits.toml").read_text(encoding="utf-8") == text
    assert main(["recipes", "cp", "digits", "mine.toml"]) == 0
    assert (tmp_path / "mine.toml").is_file()


def test_nothing_is_replaced_or_made_by_chance(tmp_path, capsys):
    (tmp_path / "digits.toml").write_text("mine", encoding="utf-8")
    assert main(["recipes", "cp", "digits", str(tmp_path)]) == 2
    assert "exists already; give another name, or --force to replace it" in capsys.readouterr().err
    assert main(["recipes", "cp", "digits", str(tmp_path), "--force"]) == 0
    assert main(["recipes", "cp", "digits", str(tmp_path / "a" / "b.toml")]) == 2
    assert "is no folder" in capsys.readouterr().err
