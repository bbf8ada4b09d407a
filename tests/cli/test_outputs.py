"""Places for results are refused before the work, and left as they were."""

import os

import pytest

from refconv.cli.measuring import check_file, check_folder
from refconv.errors import RunError


def test_places_that_can_be_made_are_not_made(tmp_path):
    check_file(tmp_path / "a" / "b" / "page.html")
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_written_over(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    check_file(page)
    assert page.read_text() == "old"


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path):
    (tmp_path / "page.html").write_text("old")
    with pytest.raises(RunError, match="cannot be written: a folder is there; name a file in it"):
        check_file(tmp_path)
    for place in (tmp_path / "page.html", tmp_path / "page.html" / "records"):
        with pytest.raises(RunError, match=r"cannot be a folder; found a file .*page\.html"):
            check_folder(place)


def test_folders_without_the_right_to_write_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(RunError, match=r"records: cannot be written to; found no right to write in"):
        check_folder(tmp_path / "deep" / "records")
