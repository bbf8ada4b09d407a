"""The file of papers is sound, its page is current, and every test that it names is collected."""

import re
import subprocess
import sys

import pytest

from benchmark_scripts import ROOT, part, script

pages = script("papers")
PAPERS = pages.papers()


def test_every_row_says_what_it_is_and_shows_it_or_says_why_not():
    assert len(PAPERS) == 229
    assert len({paper.title for paper in PAPERS}) == len(PAPERS)
    for paper in PAPERS:
        assert paper.kind in pages.KINDS, paper.title
        assert paper.here, paper.title
        if paper.outside is not None:
            assert not paper.shown, paper.title
            assert paper.open is None, paper.title
        else:
            assert paper.shown or paper.open, paper.title
        assert len(set(paper.shown)) == len(paper.shown), paper.title
    assert all((paper.kind == "unrelated") <= (paper.outside is not None) for paper in PAPERS)


def test_the_page_shows_the_file():
    shown = part("docs/literature.md", "papers")
    assert pages.summary(PAPERS) in shown
    for paper in PAPERS:
        assert f"| {paper.title} | {paper.here} | {pages.evidence(paper)} |" in shown, (
            f"{paper.title}: run python benchmarks/papers.py"
        )


@pytest.fixture(scope="module")
def collected():
    """Return every test of the files that rows name, and of this folder, as pytest lists them."""
    files = {test.partition("::")[0] for paper in PAPERS for test in paper.shown}
    files |= {f"literature/{path.name}" for path in (ROOT / "tests" / "literature").glob("test_*.py")}
    paths = [str(ROOT / "tests" / file) for file in sorted(files)]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^tests/(\S+::.*)$", listed, flags=re.MULTILINE))


@pytest.mark.literature
def test_every_test_that_a_row_names_is_collected(collected):
    known = collected | {test.partition("[")[0] for test in collected}
    named = {test for paper in PAPERS for test in paper.shown}
    assert len(named) > 100
    assert sorted(named - known) == []


@pytest.mark.literature
def test_every_case_of_this_folder_stands_behind_a_row(collected):
    named = {test for paper in PAPERS for test in paper.shown}
    own = {test for test in collected if re.match(r"literature/test_(blocks|networks|losses|claims)\.py", test)}
    own.discard("literature/test_blocks.py::test_no_case_hides_another")
    assert len(own) > 150
    assert sorted(own - named) == []
