"""The project's own studies can be read, and keep to what they say."""

from pathlib import Path

import pytest

from refconv.studies import Study
from refconv.studies.runs import Runs
from refconv.training.methods import METHODS, method_of

STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_committed_studies_can_run(path, tmp_path):
    study = Study.read(path)
    assert study.name == path.stem
    sizes = {"fashion-mnist": round(60_000 * (1 - study.val_split)), "mnist1d": 3600, "digits": 1150}
    runs = Runs(study, tmp_path, {a.name: sizes[a.settings["data"]] for a in study.architectures})
    for architecture, method in runs.cells:
        for run in (*runs.selection(architecture, method), *runs.final(architecture, method, method.points[0])):
            assert method_of(run.recipe).inherits == method.from_base
            # The budget that the file names is that of whole epochs, up to what does not fill a batch.
            size, batch = sizes[run.recipe.data], run.recipe.batch_size
            budget = architecture.samples + (0 if method.from_base else architecture.base.samples)
            assert run.recipe.epochs * (size // batch) * batch == budget
    assert all(run.recipe.warmup_epochs < run.recipe.epochs for run in runs.bases())


def test_every_contender_is_in_a_study():
    methods = {method.settings["method"] for path in STUDIES for method in Study.read(path).methods}
    assert methods == set(METHODS)


def test_the_main_contrast_has_ten_seeds_and_five_architectures():
    study = Study.read(next(path for path in STUDIES if path.stem == "main"))
    assert len(study.seeds) >= 10
    assert len(study.architectures) == 5
    assert {"plain", "refocus"} <= {method.name for method in study.methods}
