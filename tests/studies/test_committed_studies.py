"""The project's own studies can be read, and keep to what they say."""

import itertools
import re
from pathlib import Path

import pytest

from refconv.methods.registry import METHODS, method_of
from refconv.studies import Comparison, read_study
from refconv.studies.journal import Journal
from refconv.studies.runs import Runs
from refconv.studies.schedule import Schedule

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


SIZES = {
    "scenes": 1000,
    "photographs": 3968,
    **{f"folder:runs/outside/cifar-{size}": size for size in (500, 5000, 50_000)},
    **{f"folder:runs/outside/cifar-{size}-corrupted": size for size in (500, 5000)},
}
WITH_VALIDATION = {"mnist1d": 4000, "digits": 1438, "fashion-mnist": 60_000}  # val_split takes its share of these
MOST_RUNS = {"ablations", "contenders", "tuned"}
JOURNALS = [path for path in STUDIES if (path.parent / "records" / f"{path.stem}.runs.jsonl").is_file()]


def sizes_of(study):
    sizes = {**SIZES, **{name: round(size * (1 - study.val_split)) for name, size in WITH_VALIDATION.items()}}
    return {architecture.name: sizes[architecture.settings["data"]] for architecture in study.architectures}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_can_run(path, tmp_path, monkeypatch):
    study = read_study(path)
    assert study.name == path.stem
    _have_backbones(study, tmp_path, monkeypatch)
    runs = Runs(study, tmp_path, sizes_of(study))
    for architecture, method in runs.cells:
        for run in (*runs.selection(architecture, method), *runs.final(architecture, method, method.points[0])):
            assert method_of(run.recipe).inherits == method.from_base
            # The budget that the file names is that of whole epochs, up to what does not fill a batch.
            size, batch = sizes_of(study)[architecture.name], run.recipe.batch_size
            budget = architecture.samples + (0 if method.from_base else architecture.base.samples)
            assert run.recipe.epochs * (size // batch) * batch == budget
    assert all(run.recipe.warmup_epochs < run.recipe.epochs for run in runs.bases())


# The journals with the most runs take seconds; the others, that of the main study among them, have every kind of run.
@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in MOST_RUNS), id=path.stem) for path in JOURNALS]
)
def test_nothing_of_a_committed_study_runs_again_with_its_journal(path, tmp_path, monkeypatch):
    study = read_study(path)
    _have_backbones(study, tmp_path, monkeypatch)
    Journal(path.parent / "records" / f"{path.stem}.runs.jsonl", tmp_path / "out").restore()
    schedule = Schedule(Runs(study, tmp_path / "out", sizes_of(study)))
    record = Comparison.read(path.parent / "records" / f"{path.stem}.json")
    assert list(schedule.to_do()) == []
    assert len(schedule.over) == record.runs
    for cell in record.cells:
        assert schedule.choices[cell.architecture, cell.method].point == cell.point


def _have_backbones(study, folder, monkeypatch):
    """Make the results of a study look finished that this one goes on from, which needs nothing but their folders."""
    monkeypatch.chdir(folder)
    for architecture in study.architectures:
        if architecture.base.backbones is not None:
            source = read_study(ROOT / "studies" / f"{Path(architecture.base.backbones).name}.toml")
            assert {method.name for method in study.methods} <= {method.name for method in source.methods}
            assert architecture.name in {other.name for other in source.architectures}
            for method, seed in itertools.product(study.methods, study.seeds):
                (
                    folder
                    / architecture.base.backbones
                    / "final"
                    / architecture.name
                    / method.name
                    / f"seed-{seed}/model"
                ).mkdir(parents=True)


def test_every_contender_is_in_a_study():
    methods = {method.settings["method"] for path in STUDIES for method in read_study(path).methods}
    assert methods == set(METHODS)


def test_the_main_contrast_has_ten_seeds_and_five_architectures():
    study = read_study(next(path for path in STUDIES if path.stem == "main"))
    assert len(study.seeds) >= 10
    assert len(study.architectures) == 5
    assert {"plain", "refocus"} <= {method.name for method in study.methods}


def test_the_example_of_the_page_is_a_study(tmp_path):
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "example.toml").write_text(example, encoding="utf-8")
    study = read_study(tmp_path / "example.toml")
    assert [method.name for method in study.methods] == ["plain", "refocus", "scratch"]
    assert len(study.methods[1].points) == 6
