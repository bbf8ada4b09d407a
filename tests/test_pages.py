"""What pages show: generated parts say what their records say, links lead somewhere, and the site holds everything."""

import importlib
import json
import re
from pathlib import Path

import pytest

from refconv.engine.demo import DemoRecord, markdown

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md"))))
MARKED = {page for page in PAGES if "<!-- generated: " in (ROOT / page).read_text(encoding="utf-8")}

PUBLIC = (
    "refconv",
    "refconv.gradspace",
    "refconv.ops",
    "refconv.engine",
    "refconv.studies",
    "refconv.analysis",
    "refconv.report",
)
"""Modules of which every exported name is in the API reference."""


def part(page, name):
    """Return what stands in a page between the markers of a generated part."""
    found = re.findall(rf"<!-- generated: {name}\b[^>]*-->\n(.*?)\n<!-- end: {name} -->", page, flags=re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_readme_and_results_show_the_records_of_the_studies(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = importlib.import_module("results")
    records = script.read_records(script.RECORDS)
    assert records
    for page, link in script.SUMMARIES.items():
        assert part(page.read_text(encoding="utf-8"), "found") == script.summary(records, link)
    written = script.pages(records)
    assert {path.name: path.read_text(encoding="utf-8") for path in script.PAGES.glob("*.md")} == written


def test_readme_shows_the_recorded_demo():
    record = DemoRecord.read(ROOT / "benchmarks" / "demo.json")
    assert part((ROOT / "README.md").read_text(encoding="utf-8"), "demo") == markdown(record).strip()
    assert record.certified


@pytest.mark.parametrize("page", sorted(MARKED))
def test_no_generated_part_is_empty(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"<!-- generated: (\w+)", text)
    assert names
    assert all(part(text, name).strip() for name in names)


def test_tutorial_shows_its_record(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = importlib.import_module("own_networks")
    record = json.loads((ROOT / "benchmarks" / "own_networks.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "your-own-network.md").read_text(encoding="utf-8")
    assert part(page, "networks") == script.summary(record["rows"])
    certificates = [method["certificate"] for row in record["rows"] for method in row["methods"].values()]
    assert len(certificates) == 15
    assert all(found["largest_output_difference"] == 0 and not found["missing"] for found in certificates)


def test_worked_example_shows_its_records(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = importlib.import_module("fashion_mnist")
    record = json.loads((ROOT / "benchmarks" / "fashion_mnist.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "fashion-mnist.md").read_text(encoding="utf-8")
    assert part(page, "results") == script.summary(record["rows"])


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert all(((ROOT / page).parent / link).exists() for link in links), links
    if page.startswith("docs/"):
        assert all(
            ((ROOT / page).parent / link).resolve().is_relative_to(DOCS) for link in links
        )  # the site has no more


def contents(page):
    """Return the pages that the tables of contents of a page name, without their suffixes."""
    path = DOCS / page
    text = next(
        file.read_text(encoding="utf-8") for file in (path.with_suffix(s) for s in (".md", ".rst")) if file.is_file()
    )
    blocks = re.findall(
        r"^```{toctree}\n(.*?)^```$|^\.\. toctree::\n\n((?:   .*\n|\n)+)", text, re.DOTALL | re.MULTILINE
    )
    lines = [line.strip() for block in blocks for line in "".join(block).splitlines()]
    named = [re.sub(r".*<(.*)>", r"\1", line) for line in lines if line and not line.startswith(":")]
    return [(path.parent / name).relative_to(DOCS).as_posix() for name in named if name != "self"]


def test_contents_of_the_site_list_every_page_once():
    pages = [
        path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*") if path.suffix in {".md", ".rst"}
    ]
    listed = ["index", *(name for page in pages for name in contents(page))]
    assert sorted(listed) == sorted(pages)


def documented():
    """Return the names that the API reference documents: single ones, and all of a module by ``automodule``."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.rst")))
    names = re.findall(r"^\.\. auto(?:function|class|data)::\s+(\S+)", text, re.MULTILINE)
    for module in re.findall(r"^\.\. automodule::\s+(\S+)", text, re.MULTILINE):
        own = vars(importlib.import_module(module)).items()
        names += [f"{module}.{name}" for name, value in own if getattr(value, "__module__", "") == module]
    return names


def test_api_reference_holds_every_public_name_and_only_names_that_exist():
    names = documented()
    assert len(names) == len(set(names))
    halves = [name.rpartition(".") for name in names]
    shown = [getattr(importlib.import_module(module), own) for module, _, own in halves]
    for module in map(importlib.import_module, PUBLIC):
        missing = [name for name in module.__all__ if not any(getattr(module, name) is one for one in shown)]
        assert not missing, f"{module.__name__}: give each its line in docs/api: {', '.join(missing)}"


def test_pages_ask_nothing_of_other_hosts():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not re.findall(r"!\[[^\]]*\]\(https?:|<(?:img|script|link)\b", text), page


def test_citation_names_this_version():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version is not None
    assert f"\nversion: {version[1]}\n" in citation
    assert "doi: 10.1109/TNNLS.2025.3552654" in citation
