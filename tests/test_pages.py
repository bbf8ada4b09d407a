"""What pages show: generated parts say what their records say, links lead somewhere, and the site holds everything."""

import importlib
import json
import re

import pytest

from benchmark_scripts import ROOT, figures, part, script
from refconv.improvement import ImproveRecord
from refconv.improvement.verdict import markdown

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
    "refconv.exporting",
    "refconv.report",
)
"""Modules of which every exported name is in the API reference."""


def test_readme_and_home_page_show_the_verdict_of_the_studies():
    results = script("results")
    records = results.read_records(results.RECORDS)
    for page, link in results.SUMMARIES.items():
        shown, summary = part(page, "found"), results.summary(records, link)
        assert figures(shown) == figures(summary)
        assert ("was not reached" in shown) == ("was not reached" in summary)
        assert f"]({link})" in shown


def test_results_open_with_the_regimes_of_the_records():
    results, regimes = script("results"), script("regimes")
    records = results.read_records(results.RECORDS)
    index = (DOCS / "results" / "index.md").read_text(encoding="utf-8")
    opening = index[index.index("* **At least") : index.index("Each study")]
    assert figures(f"{regimes.sentences(records)}\n{regimes.overview(records)}") == figures(opening)
    rows = regimes.rows(records)
    recorded = {record.name for record in records} - {
        "subspaces",
        "corruptions_family",
        "retraining",
    }  # questions of their own
    assert {row.study for row in rows} == {"main", *regimes.OUTSIDE} & recorded
    cells = {(record.name, cell.architecture, cell.method): cell.values for record in records for cell in record.cells}
    for row in rows:
        refocused, plain = (cells[row.study, row.architecture, name]["top1"] for name in ("refocus", "plain"))
        assert row.interval.mean == pytest.approx(sum(refocused) / len(refocused) - sum(plain) / len(plain), abs=1e-12)


def test_readme_shows_the_recorded_demo():
    record = ImproveRecord.read(ROOT / "benchmarks" / "demo.json")
    assert figures(part("README.md", "demo")) == figures(markdown(record))
    assert record.certificate.same_structure


@pytest.mark.parametrize("page", sorted(MARKED))
def test_no_generated_part_is_empty(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"<!-- generated: (\w+)", text)
    assert names
    assert all(part(page, name).strip() for name in names)


@pytest.mark.parametrize(
    ("name", "page", "of"),
    [("step_shares", "docs/math.md", "step_shares"), ("report_time", "docs/analysis.md", "report_time")],
)
def test_pages_of_mathematics_and_analysis_show_their_records(name, page, of):
    record = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    assert figures(part(page, of)) == figures(script(name).shown(record))


@pytest.mark.parametrize(
    ("name", "page", "of"),
    [("own_networks", "docs/your-own-network.md", "networks"), ("fashion_mnist", "docs/fashion-mnist.md", "results")],
)
def test_tutorials_show_their_records(name, page, of):
    record = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    assert figures(part(page, of)) == figures(script(name).summary(record["rows"]))


def test_the_cost_of_digests_is_that_of_the_record():
    record = json.loads((ROOT / "benchmarks" / "digest_cost.json").read_text(encoding="utf-8"))
    assert part("docs/reliability.md", "digest").strip() == script("digest_cost").shown(record)


def test_networks_of_the_tutorial_are_certified():
    record = json.loads((ROOT / "benchmarks" / "own_networks.json").read_text(encoding="utf-8"))
    certificates = [method["certificate"] for row in record["rows"] for method in row["methods"].values()]
    assert len(certificates) == 15
    assert all(found["largest_output_difference"] == 0 and not found["missing"] for found in certificates)


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


def test_reliability_shows_its_record():
    reliability = script("reliability")
    assert figures(part("docs/reliability.md", "figures")) == figures(reliability.figures(reliability.lines()))


def test_the_last_figures_of_a_test_count_and_promises_are_summed(tmp_path):
    reliability = script("reliability")
    path = tmp_path / "reliability.jsonl"
    rows = [("files", "a[x]", 5, 4), ("files", "a[x]", 5, 5), ("files", "b", 1000, 999), ("code", "c", 2, 2)]
    names = ("promise", "test", "tried", "right")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    shown = reliability.figures(reliability.lines(path))
    assert "| files | 1,005 | 1,004 |" in shown
    assert "| code | 2 | 2 |" in shown
    assert "| files | `a[x]` | 5 | 5 |" in shown
    assert reliability.figures(reliability.lines(tmp_path / "none.jsonl")).startswith("Open")
