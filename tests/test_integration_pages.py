"""Pages of docs/integrations are short, and each has a test that runs it, in an environment that its page installs."""

import re

import pytest

from integration_pages import PAGES, TESTS, blocks

NAMES = sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "index")


def test_every_page_has_a_test_and_every_test_of_a_page_its_page():
    tests = [file for file in TESTS.glob("*/test_*.py") if "run_page(" in file.read_text(encoding="utf-8")]
    assert sorted(file.stem.removeprefix("test_") for file in tests) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_test_of_the_page_runs_it_in_the_tier_of_integrations(name):
    (file,) = TESTS.glob(f"*/test_{name}.py")
    text = file.read_text(encoding="utf-8")
    assert f'run_page("{name}"' in text
    assert "pytestmark = MARKS" in text


@pytest.mark.parametrize("name", NAMES)
def test_page_is_short_and_installs_what_its_environment_has(name):
    assert len((PAGES / f"{name}.md").read_text(encoding="utf-8").splitlines()) < 60
    (file,) = TESTS.glob(f"*/test_{name}.py")
    required = {
        re.split(r"[^\w-]", line)[0]
        for line in (file.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith(("-", "#"))
    }
    installed = {
        re.split(r"[^\w-]", word)[0]
        for language, text in blocks(name)
        for line in text.splitlines()
        if language == "sh" and line.startswith("pip install ")
        for word in line.removeprefix("pip install ").replace('"', "").split()
    }
    assert installed - {"refconv", "timm", "torchvision", "torch"} <= required
    assert "refconv" in installed


def test_index_lists_every_page():
    text = (PAGES / "index.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL)
    assert sorted(line for line in tree.splitlines() if line and not line.startswith(":")) == NAMES
    assert all(f"]({name}.md)" in text for name in NAMES)
