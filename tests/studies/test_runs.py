"""Which runs a study has, what they share, and what is chosen."""

import pytest

from refconv.errors import StudyError
from refconv.studies.comparison import MEASURES, Tried
from refconv.studies.runs import Runs, classifier, file_name, label
from refconv.studies.schedule import best, edges
from refconv.studies.summary import measured
from small_studies import TINY, study

NET = TINY["architectures"]["mobilenet"]


def runs_of(read, out, size=1000, only=None):
    return Runs(read, out, {architecture.name: size for architecture in read.architectures}, only)


def test_methods_of_a_seed_differ_in_the_method_alone(tmp_path):
    runs = runs_of(study(tmp_path), tmp_path)
    plain, refocus = (runs.final(a, m, {"lr": 0.05}) for a, m in runs.cells)
    assert [run.recipe.seed for run in plain] == [run.recipe.seed for run in refocus] == [0, 1]
    for one, other in zip(plain, refocus, strict=True):
        assert one.recipe.differences(other.recipe) == ("method",)
        assert one.base == other.base
        assert one.recipe.checkpoint == str(one.base / "model")
        assert one.folder != other.folder


def test_one_base_serves_all_methods_of_a_seed(tmp_path):
    runs = runs_of(study(tmp_path), tmp_path)
    bases = runs.bases()
    assert [run.recipe.seed for run in bases] == [0, 1, 1000]
    needed = {run.base for a, m in runs.cells for run in (*runs.selection(a, m), *runs.final(a, m, {"lr": 0.01}))}
    assert needed == {run.folder for run in bases}


def test_only_final_runs_read_the_test_split_and_none_trains_on_the_validation_split(tmp_path):
    runs = runs_of(study(tmp_path), tmp_path)
    every = [*runs.bases(), *(run for a, m in runs.cells for run in runs.selection(a, m))]
    assert {run.kind for run in every} == {"base", "selection"}
    assert not any(run.recipe.test for run in every)
    finals = [run for a, m in runs.cells for run in runs.final(a, m, {"lr": 0.01})]
    assert all(run.recipe.test for run in finals)
    assert {run.recipe.val_split for run in (*every, *finals)} == {0.2}


def test_selection_tries_every_point_on_seeds_of_its_own(tmp_path):
    read = study(tmp_path, study={"selection_seeds": [7, 9]}, methods={"fixed": {"method": "plain", "lr": 0.1}})
    runs = runs_of(read, tmp_path)
    tried = [(run.point["lr"], run.recipe.lr, run.recipe.seed) for run in runs.selection(*runs.cells[0])]
    assert tried == [(0.01, 0.01, 7), (0.01, 0.01, 9), (0.05, 0.05, 7), (0.05, 0.05, 9)]
    assert runs.selection(*runs.cells[2]) == []


@pytest.mark.parametrize(
    ("samples", "size", "epochs"), [(1000, 1000, 1), (2000, 1000, 2), (1500, 1000, 2), (1400, 1000, 1), (10, 1000, 1)]
)
def test_budgets_are_the_nearest_whole_epochs(tmp_path, samples, size, epochs):
    # An epoch of 1000 samples in batches of 64 has 15 batches, 960 samples.
    runs = runs_of(study(tmp_path, study={"samples": samples}, recipe={"batch_size": 64}), tmp_path, size)
    assert runs.final(*runs.cells[0], {"lr": 0.1})[0].recipe.epochs == epochs


def test_a_schedule_that_does_not_fit_is_refused(tmp_path):
    runs = runs_of(study(tmp_path, base={"samples": 2000, "warmup_epochs": 2}), tmp_path)
    assert runs.bases()[0].recipe.warmup_epochs == 2
    runs = runs_of(study(tmp_path, base={"samples": 1000, "warmup_epochs": 2}), tmp_path)
    with pytest.raises(
        StudyError, match="1 epochs of mobilenet: warmup_epochs: the warm-up is longer .* expected at most 1"
    ):
        runs.bases()


def test_starting_anew_gets_the_budget_of_base_and_continuation(tmp_path):
    scratch = {"method": "plain", "from_base": False}
    runs = runs_of(study(tmp_path, methods={"scratch": scratch}, study={"samples": 3000}), tmp_path)
    run = runs.final(*runs.cells[2], {"lr": 0.1})[0]
    assert (run.base, run.recipe.checkpoint) == (None, None)
    assert run.recipe.epochs == runs.bases()[0].recipe.epochs + runs.final(*runs.cells[0], {"lr": 0.1})[0].recipe.epochs
    alone = runs_of(study(tmp_path, methods={"scratch": scratch}), tmp_path, only="*/scratch")
    assert alone.bases() == []


def test_given_weights_need_no_base(tmp_path):
    given = {"samples": None, "lr": None, "checkpoint": "weights.pth"}
    runs = runs_of(study(tmp_path, base=given), tmp_path)
    assert runs.bases() == []
    assert runs.final(*runs.cells[0], {"lr": 0.1})[0].recipe.checkpoint == "weights.pth"


def test_only_leaves_other_cells_out(tmp_path):
    read = study(tmp_path, architectures={"second": NET})
    assert [(a.name, m.name) for a, m in runs_of(read, tmp_path, only="second/*").cells] == [
        ("second", "plain"), ("second", "refocus"),
    ]  # fmt: skip
    with pytest.raises(StudyError, match="--only mobilnet/plain: matches nothing; .* did you mean mobilenet/plain"):
        runs_of(read, tmp_path, only="mobilnet/plain")


def test_labels_of_different_settings_differ():
    points = [
        {"lr": 0.1}, {"lr": 1}, {"model_ema": True}, {"model_ema": False}, {"map_size": [3]}, {"map_size": [3, 5]},
        {"lr": 0.1234567}, {"lr": 0.1234568},
        {"method_kwargs": {"rank": 4}}, {"method_kwargs": {"rank": 8}}, {"lr": 1e-5, "order": "across"},
    ]  # fmt: skip
    assert len({label(point) for point in points}) == len({file_name(point) for point in points}) == len(points)
    assert file_name({"opt": "../x y"}) == "opt-..x-y"


def test_choice_is_the_best_mean_and_never_a_diverged_one():
    tried = [
        Tried({"lr": 0.1}, (0.5, 0.5)), Tried({"lr": 0.2}, (0.2, 0.9)), Tried({"lr": 0.3}, (0.4, 0.5)),
        Tried({"lr": 0.4}, (0.0, None)),
    ]  # fmt: skip
    assert best(tried, MEASURES["loss"]).point == {"lr": 0.3}
    assert best(tried, MEASURES["top1"]).point == {"lr": 0.2}
    assert best(tried[3:], MEASURES["loss"]) is None
    assert best([Tried({"lr": 1}, (0.5,)), Tried({"lr": 2}, (0.5,))], MEASURES["loss"]).point == {"lr": 1}


def test_a_choice_at_the_edge_of_its_grid_is_named(tmp_path):
    read = study(tmp_path, methods={"wide": {
        "method": "refocus", "grid": {"lr": [0.1, 0.3, 1], "power": [1], "order": ["contiguous", "across"]},
    }})  # fmt: skip
    method = read.methods[-1]
    rest = {"power": 1, "order": "across"}
    assert edges(method, {"lr": 0.3, **rest}) == ()
    assert edges(method, {"lr": 1, **rest}) == edges(method, {"lr": 0.1, **rest}) == ("lr",)


def test_measures_are_those_that_all_records_hold():
    class Found:
        def __init__(self, **values):
            self.values = values

        def measure(self, name):
            return self.values.get(name)

    both = [Found(top1=0.5, loss=1.0, ece=0.1), Found(top1=0.5, loss=1.0, ece=None)]
    assert [measure.name for measure in measured(both)] == ["top1", "loss"]
    assert measured([]) == ()
    assert MEASURES["loss"].limit() == "0"
    assert MEASURES["top1"].limit() == "0.1 points"


def holding(folder):
    """Make a folder look like a finished run whose result is there."""
    (folder / "model").mkdir(parents=True)
    return folder


def test_backbones_come_from_the_namesake_of_another_study(tmp_path):
    source = tmp_path / "classifiers"
    expected = {
        (method, seed): holding(source / f"final/mobilenet/{method}/lr-{lr}/seed-{seed}")
        for method, lr in (("plain", 0.1), ("refocus", 0.05))
        for seed in (0, 1)
    }
    made = study(tmp_path, base={"samples": None, "lr": None, "backbones": str(source)}, grid=None, study={"seeds": 2})
    runs = Runs(made, tmp_path, {"mobilenet": 800})
    assert runs.bases() == []
    for architecture, method in runs.cells:
        for run in runs.final(architecture, method, {}):
            assert run.recipe.backbone_checkpoint == str(expected[method.name, run.recipe.seed])
            assert run.recipe.checkpoint is None


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "no result of this method and seed; .* run that study first"),
        (["lr-0.1/seed-0", "lr-0.2/seed-0"], "several results"),
        (["lr-0.1/seed-10"], "no result of this method and seed"),
    ],
    ids=["none", "two", "another seed"],
)
def test_backbones_that_are_not_there_are_named(tmp_path, places, message):
    for place in places:
        holding(tmp_path / "final/mobilenet/plain" / place)
    with pytest.raises(StudyError, match=message):
        classifier(tmp_path, "mobilenet", "plain", 0)
