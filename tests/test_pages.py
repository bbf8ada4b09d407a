"""What pages show: generated parts say what their records say, and links lead somewhere."""

import importlib
import json
import re
from pathlib import Path

import pytest

from refconv.training.demo import DemoRecord, markdown

ROOT = Path(__file__).resolve().parent.parent


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
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert part(readme, "found") == script.summary(records)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(records)


def test_readme_shows_the_recorded_demo():
    record = DemoRecord.read(ROOT / "benchmarks" / "demo.json")
    assert part((ROOT / "README.md").read_text(encoding="utf-8"), "demo") == markdown(record).strip()
    assert record.certified


@pytest.mark.parametrize("page", ["README.md", "docs/math.md", "docs/fashion-mnist.md", "docs/your-own-network.md"])
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


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert all(((ROOT / page).parent / link).exists() for link in links), links
