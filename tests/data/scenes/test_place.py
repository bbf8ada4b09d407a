"""Scenes are found by folder, or where they are written by default."""

import pytest

from refconv.data.scenes import default_folder, make_scenes, scenes_folder
from refconv.errors import DataError


@pytest.fixture
def made(tmp_path):
    make_scenes(tmp_path / "made", train=1, val=0, test=1, size=32, source="digits")
    return tmp_path / "made"


def test_scenes_are_found_by_either_name(made):
    assert scenes_folder("scenes", str(made)) == made
    assert scenes_folder(f"scenes:{made}") == made
    assert scenes_folder("scenes:made", str(made.parent)) == made


def test_scenes_without_a_folder_are_in_the_cache(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "refconv" / "scenes"
    default_folder().parent.mkdir()
    made.rename(default_folder())
    assert scenes_folder("scenes") == default_folder()


def test_where_there_are_none_the_remedy_is_the_command(tmp_path):
    with pytest.raises(DataError, match=r"no scenes found; expected scenes.json; refconv data scenes --out .*nowhere"):
        scenes_folder(f"scenes:{tmp_path / 'nowhere'}")
