"""What pages show: the README's example runs, and generated parts say what their records say."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch

from refconv.training.demo import DemoRecord, markdown

ROOT = Path(__file__).resolve().parent.parent


def part(page, name):
    """Return what stands in a page between the markers of a generated part."""
    found = re.findall(rf"<!-- generated: {name}\b[^>]*-->\n(.*?)\n<!-- end: {name} -->", page, flags=re.DOTALL)
    assert len(found) == 1
    return found[0]


def example_of_the_readme(number):
    """Run one of the README's examples on a small network, with two small batches for a loader."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    small = blocks[number].replace('"mobilenetv3_large_100", pretrained=True', '"test_efficientnet", num_classes=3')
    assert small != blocks[number]
    torch.manual_seed(0)
    names = {"loader": [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])) for _ in range(2)]}
    exec(small, names)
    return names


def test_gradient_space_example_of_the_readme_runs():
    names = example_of_the_readme(0)
    optimizer = names["optimizer"]
    assert optimizer.sites
    assert all(bool(optimizer.refocus_weight(site).any()) for site in optimizer.sites)


def test_kernel_space_example_of_the_readme_runs(capsys):
    names = example_of_the_readme(1)
    shown = capsys.readouterr().out
    assert "kernels of EfficientNet are refocused" in shown
    assert "structure  the same" in shown
    assert names["report"].sites


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


@pytest.mark.parametrize("page", ["README.md", "docs/math.md", "docs/fashion-mnist.md"])
def test_no_generated_part_is_empty(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"<!-- generated: (\w+)", text)
    assert names
    assert all(part(text, name).strip() for name in names)


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
