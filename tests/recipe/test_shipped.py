"""The recipes and studies that come with the package."""

import re
from pathlib import Path

import pytest

from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe
from refconv.recipe.shipped import first_line, named, resolved, shipped
from refconv.studies.reading import read_study

ROOT = Path(__file__).parents[2]


def test_a_wheel_gets_every_recipe_and_study():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"recipes" = "refconv/shipped/recipes"' in text
    included = re.findall(r'"studies/(\w+)\.toml" = "refconv/shipped/studies/\1\.toml"', text)
    assert included == sorted(path.stem for path in (ROOT / "studies").glob("*.toml"))


def test_each_can_be_read_and_says_what_it_is():
    for path in shipped("recipes").values():
        assert isinstance(Recipe.from_toml(path), Recipe)
        assert first_line(path).endswith((".", ":")) or len(first_line(path)) > 20
    for path in shipped("studies").values():
        assert read_study(path).name == path.stem
    assert {"digits", "folder-finetune"} <= shipped("recipes").keys()


def test_a_name_stands_for_a_file_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = shipped("recipes")["digits"]
    assert resolved(Path("digits"), "recipes") == resolved(Path("recipes/digits.toml"), "recipes") == wanted
    assert resolved(Path("elsewhere/digits.toml"), "recipes") == Path("elsewhere/digits.toml")
    Path("digits").write_text("", encoding="utf-8")
    assert resolved(Path("digits"), "recipes") == Path("digits")


def test_names_and_their_mistakes():
    assert named("studies/digits") == named("studies/digits.toml") == shipped("studies")["digits"]
    assert named("digits") == shipped("recipes")["digits"]
    with pytest.raises(RecipeError, match="digit: no recipe or study of this name; did you mean digits?"):
        named("digit")
    with pytest.raises(RecipeError, match="refconv recipes ls"):
        named("qqqqqq")
