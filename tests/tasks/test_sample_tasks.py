"""Whole runs of the tasks with one target a sample: trained, evaluated, predicted, compared and gone on with."""

import json

import pytest
import torch

from labelled_tables import write_tables
from refconv.analysis.evidence import AnalysisConfig, open_scores
from refconv.data import open_data
from refconv.engine import Recipe, train
from refconv.engine.epochs import Loop
from refconv.engine.setup import open_setup
from refconv.errors import DataError, ModelError, RecipeError
from refconv.improvement import Budget, ImproveConfig, improve_recipe
from refconv.improvement.scoring import difference, score
from refconv.methods.registry import method_of
from refconv.models.opening import open_model
from refconv.process.distributed import Processes
from refconv.process.interruption import StoppedError
from refconv.tasks.model_data import data_for
from refconv.tasks.predicting import predictions
from refconv.tasks.registry import task_named, task_of
from run_results import same_result

CPU = torch.device("cpu")
TABLES = {"multilabel": "labels", "binary": "one", "regression": "values"}
PRIMARY = {"multilabel": "label_map", "binary": "auc", "regression": "r2"}
tasks = pytest.mark.parametrize("task", list(TABLES))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("shared") / "data")


def recipe(shared, task, **settings):
    small = {
        "task": task, "model": "refconv.models.networks:resnet_small", "model_kwargs": {"channels": [8, 16]},
        "data": f"table:{shared / TABLES[task]}.csv", "epochs": 6, "batch_size": 8, "lr": 0.02, "workers": 0,
        "device": "cpu", "img_size": 16, "log_interval": 1,
    }  # fmt: skip
    return Recipe(**{**small, **settings})


@pytest.fixture(scope="module")
def runs(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    records = {task: train(recipe(shared, task), folder / task, show=False) for task in TABLES}
    return folder, records


@pytest.mark.parametrize(
    ("task", "scale"), [*((task, {}) for task in TABLES), ("regression", {"target_scale": "none"})]
)
def test_a_column_that_no_training_sample_has_is_refused(shared, tmp_path, task, scale):
    rows = (shared / f"{TABLES[task]}.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    emptied = [row if number == 0 or row[1] == "test" else [*row[:-1], ""] for number, row in enumerate(cells)]
    (tmp_path / "images").symlink_to(shared / "images")
    (tmp_path / "some.csv").write_text("\n".join(map(",".join, emptied)))
    data = f"table:{tmp_path / 'some.csv'}"
    with pytest.raises(DataError, match=f"no training sample has a value here; .*found {cells[0][-1]}; leave the"):
        task_named(task).open_data(recipe(shared, task, data=data, **scale))


def test_an_evaluation_needs_some_known_target(runs, shared, tmp_path):
    opened = open_model(str(runs[0] / "multilabel"))
    (tmp_path / "images").symlink_to(shared / "images")
    (tmp_path / "none.csv").write_text("image,bright,bar\nimages/0.png,,\nimages/1.png,,\n")
    data = data_for(opened, f"table:{tmp_path / 'none.csv'}")
    with pytest.raises(DataError, match=r"none.csv: no sample has a known target"):
        task_named("multilabel").evaluate(opened.model, data, "test", batch_size=5)


@tasks
def test_a_run_learns_and_its_result_is_evaluated_the_same(runs, task):
    folder, records = runs
    found = records[task].measures[PRIMARY[task]]
    assert found > 0.6
    opened = open_model(str(folder / task))
    again = task_named(task).evaluate(opened.model, data_for(opened), "test", batch_size=5)
    assert again.measures()[PRIMARY[task]] == pytest.approx(found, rel=1e-4)
    assert records[task].certificate.same_structure


@tasks
def test_predictions_say_what_was_asked(runs, shared, task):
    opened = open_model(str(runs[0] / task))
    ((_, found),) = predictions(opened, [shared / "images/40.png"], device=CPU)
    json.dumps(found.content)
    assert found.words
    if task == "regression":
        assert opened.class_names == ("level", "bar")
        assert found.content["values"].keys() == {"level", "bar"}
        level = found.content["values"]["level"]
        truth = float((shared / "values.csv").read_text().splitlines()[41].split(",")[2])
        assert abs(level - truth) < 500  # of values from 0 to 1500
    if task == "binary":
        assert found.content["label"] == "bright"
        assert found.content["positive"] == (found.content["probability"] >= 0.5)
    if task == "multilabel":
        everything = next(iter(predictions(opened, [shared / "images/40.png"], device=CPU, threshold=0.0)))[1]
        assert {entry["label"] for entry in everything.content["labels"]} == {"bright", "bar"}


def test_targets_are_scaled_by_the_training_targets_and_the_scale_goes_with_the_model(runs, shared, tmp_path):
    folder = runs[0]
    data = open_data_of(recipe(shared, "regression"))
    targets = data.train_targets().double()
    for column in range(2):
        known = targets[:, column][~targets[:, column].isnan()]
        assert data.info.target_mean[column] == pytest.approx(known.mean().item(), rel=1e-6)
        assert data.info.target_std[column] == pytest.approx(known.std(correction=0).item(), rel=1e-6)
    config = json.loads((folder / "regression/model/config.json").read_text())
    assert config["target_std"] == pytest.approx(data.info.target_std)
    # A model trained further keeps the scale of its outputs, on whatever data.
    other = tmp_path / "other.csv"
    lines = (shared / "values.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    swapped = [f"{shared}/{image},{split},{bar},{10 * float(level)}" for image, split, level, bar in rows]
    other.write_text("\n".join(["image,split,bar,level", *swapped]))
    further = recipe(shared, "regression", data=f"table:{other}", checkpoint=str(folder / "regression"), lr=0.001)
    setup = open_setup(method_of(further), Processes(0, 1, CPU))
    assert setup.info.class_names == ("level", "bar")
    assert setup.info.target_mean == pytest.approx(data.info.target_mean)
    _, batch = next(setup.data.eval_batches("train", batch_size=4))
    _, before = next(data.eval_batches("train", batch_size=4))
    torch.testing.assert_close(batch[:, 0], 10 * before[:, 0])
    torch.testing.assert_close(batch[:, 1], before[:, 1], equal_nan=True)


def open_data_of(recipe):
    return task_of(recipe).open_data(recipe)


def test_targets_may_stay_as_they_are(shared, tmp_path):
    record = train(recipe(shared, "regression", target_scale="none", epochs=1, lr=1e-9), tmp_path / "run", show=False)
    assert record.measures["mae"] > 200
    assert "target_std" not in json.loads((tmp_path / "run/model/config.json").read_text())


def test_a_run_goes_on_exactly(shared, tmp_path, monkeypatch):
    settings = recipe(shared, "regression", epochs=2, method="refocus", val_split=0.2, grad_accum_steps=2)
    train(settings, tmp_path / "whole", show=False)
    step = Loop._step

    def stopping(loop, batches):
        if loop.step == 3:
            raise StoppedError("stopped")
        return step(loop, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopping)
        with pytest.raises(StoppedError):
            train(settings, tmp_path / "cut", show=False)
    train(settings, tmp_path / "cut", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "cut")


@tasks
def test_models_are_scored_in_blocks_and_by_analysis(runs, shared, tmp_path, task):
    folder = runs[0]
    settings = recipe(shared, task, batch_size=4, validation_batch_size=3, checkpoint=str(folder / task))
    setup = open_setup(method_of(settings), Processes(0, 1, CPU))
    fresh = recipe(shared, task, batch_size=4, validation_batch_size=3)
    first = score(open_setup(method_of(fresh), Processes(0, 1, CPU)).model, setup, "test")
    second = score(setup.model, setup, "test")
    found = difference(first, second)
    assert found.value > 0 or (task == "binary" and found.value == 0)  # random weights may tell brightness apart
    assert len(first.blocks) == len(second.blocks) > 2
    pair = (open_model(str(folder / task)),) * 2
    scores, _ = open_scores(pair, AnalysisConfig(data=settings.data, device="cpu"))
    sides = scores()
    assert sides["before"].measures == sides["after"].measures
    assert sides["before"].task == task


def test_labels_are_matched_by_name_and_those_that_are_missing_are_not_known(runs, shared, tmp_path):
    lines = (shared / "labels.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["image,split,bar", *[f"{shared}/{row[0]},{row[1]},{row[3]}" for row in rows]]))
    opened = open_model(str(runs[0] / "multilabel"))
    data = data_for(opened, f"table:{other}")
    assert data.info.class_names == ("bright", "bar")
    _, targets = next(data.eval_batches("test", batch_size=4))
    assert bool(targets[:, 0].isnan().all())
    found = task_named("multilabel").evaluate(opened.model, data, "test", batch_size=8)
    whole = task_named("multilabel").evaluate(opened.model, data_for(opened), "test", batch_size=8)
    assert found.label_ap["bright"] is None
    assert found.label_ap["bar"] == whole.label_ap["bar"] == found.label_map


def test_the_parts_of_a_batch_weigh_by_what_is_known(shared):
    task = task_named("multilabel")
    count = task.counting(recipe(shared, "multilabel"))
    assert count(None, torch.tensor([[1.0, torch.nan], [0, 1]])) == 3


def test_classes_become_labels_a_positive_class_or_numbers():
    digits = open_data("digits", val_split=0.1)
    _, classes = next(digits.eval_batches("test", batch_size=50))
    for task, expected in (
        ("multilabel", torch.nn.functional.one_hot(classes, 10).float()),
        ("binary", (classes == 3).float()[:, None]),
        ("regression", classes.float()[:, None]),
    ):
        positive = {"positive": "3"} if task == "binary" else {}
        settings = Recipe(task=task, model="m", data="digits", val_split=0.1, **positive)
        data = task_of(settings).open_data(settings)
        assert torch.equal(next(data.eval_batches("test", batch_size=50))[1], expected)
        assert data.info.val_size == 144


@pytest.mark.parametrize(
    ("task", "settings", "kind", "message"),
    [
        ("binary", {"data": "digits"}, DataError, "it is not known which class is the positive one; .*--positive NAME"),
        ("binary", {"data": "digits", "positive": "ten"}, DataError, "no such class; .*found ten"),
        ("multilabel", {"mixup": 0.2}, RecipeError, "mixup: has no effect in multilabel"),
        ("regression", {"smoothing": 0.1}, RecipeError, "smoothing: has no effect in regression: there are no classes"),
        ("regression", {"positive": "bright"}, RecipeError, "positive: has no effect in regression: it is for binary"),
        ("regression", {"num_classes": 5}, ModelError, r"output does not fit the targets; expected \[2, 2\]"),
        ("classification", {}, DataError, "has several targets a sample; .*--task multilabel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(shared, tmp_path, task, settings, kind, message):
    table = {"data": f"table:{shared}/labels.csv", "task": task, **settings}
    given = Recipe(**{**recipe(shared, "multilabel").to_dict(), **table})
    with pytest.raises(kind, match=message):
        train(given, tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_network_of_values_is_improved(runs, shared, tmp_path):
    """It is compared over blocks of the validation split, and taught by itself."""
    given = recipe(shared, "regression", checkpoint=str(runs[0] / "regression"), val_split=0.3, batch_size=4)
    config = ImproveConfig(budget=Budget.parse("9ep"), contenders=("plain", "plain-taught"), teacher="base", show=False)
    record = improve_recipe(given, tmp_path / "better", config)
    assert record.certificate.same_structure
    opened = open_model(str(tmp_path / "better/model"))
    found = task_named("regression").evaluate(opened.model, data_for(opened, given.data), "test", batch_size=8)
    assert found.mae < 500
