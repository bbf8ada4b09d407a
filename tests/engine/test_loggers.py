"""A run's loggers: what they are told, going on after an interruption, failing, and missing packages."""

import csv
import importlib.util
import json
import threading
import warnings

import pytest

from fake_loggers import FAKES
from refconv.cli import main
from refconv.engine import epochs
from refconv.engine.loggers.files import Csv
from refconv.engine.loggers.logger import LoggedRun
from refconv.engine.loggers.several import KINDS, Loggers
from refconv.engine.loop import train
from refconv.errors import RecipeError, RefconvWarning, RunError
from refconv.models.run_folder import RunFolder
from refconv.process.interruption import StoppedError
from refconv.process.volume import volume
from refconv.recipe.recipe import Recipe

SERVICES = ("wandb", "mlflow", "trackio")


def recipe(*names, **settings):
    given = {
        "model": "refconv.models.networks:mobilenet_small",
        "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2}, "data": "digits",
        "val_split": 0.1, "epochs": 1, "batch_size": 256, "log_interval": 1, "checkpoint_interval": 2, "device": "cpu",
        "workers": 0, "log": names, **settings,
    }  # fmt: skip
    return Recipe(**given)


@pytest.fixture
def told(request, monkeypatch):
    """Put a stand-in in the place of a package, and return what it is told."""
    found = {}
    for name, module in FAKES[request.param](found).items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    return found


def interrupted(monkeypatch, made, out, *, at):
    """Train until a step, and be interrupted."""
    step = epochs.Loop._step

    def stop(self, batches):
        if self.step == at:
            raise KeyboardInterrupt
        return step(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(epochs.Loop, "_step", stop)
        with pytest.raises(StoppedError):
            train(made, out, show=False)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("told", ["wandb"], indirect=True)
def test_wandb_goes_on_with_its_run(told, tmp_path, monkeypatch):
    made = recipe("wandb", log_kwargs={"project": "p", "tags": ["a"], "group": "g"})
    interrupted(monkeypatch, made, tmp_path / "run", at=3)
    record = train(made, tmp_path / "run", resume=True, show=False)
    first, second = told["init"]
    assert first["id"] == second["id"] == json.loads((tmp_path / "run/loggers.json").read_text())["wandb"]
    assert (first["project"], first["name"], first["group"], first["tags"]) == ("p", "run", "g", ["a"])
    assert first["config"] == made.to_dict()
    assert first["resume"] == "allow"
    assert ("*", {"step_metric": "step"}) in told["axes"]
    losses = {entry["step"]: entry["train/loss"] for entry in told["log"] if "train/loss" in entry}
    assert sorted(losses) == [1, 2, 3, 4, 5]
    again = [entry["train/loss"] for entry in told["log"] if entry["step"] == 3 and "train/loss" in entry]
    assert len(again) == 2
    assert again[0] == again[1]
    assert told["finish"] == [1, 0]
    assert told["summary"]["record/top1"] == record.top1


@pytest.mark.parametrize("told", ["mlflow"], indirect=True)
def test_mlflow_goes_on_with_its_run(told, tmp_path, monkeypatch):
    made = recipe("mlflow", log_kwargs={"tags": "a", "group": "g", "name": "n"})
    interrupted(monkeypatch, made, tmp_path / "run", at=3)
    record = train(made, tmp_path / "run", resume=True, show=False)
    assert told["experiment"] == "refconv"
    assert told["runs"] == [("1", "n", {"a": "true", "group": "g"})]
    assert told["status"] == [("run-1", "KILLED"), ("run-1", "RUNNING"), ("run-1", "FINISHED")]
    assert {("model", made.model), ("epochs", "1"), ("model_kwargs.width", "0.25")} <= set(told["params"])
    assert sorted({step for name, _, step in told["log"] if name == "train/loss"}) == [1, 2, 3, 4, 5]
    assert ("record/top1", record.top1, 5) in told["log"]
    assert told["record"] == ("record.json", record.to_dict())


@pytest.mark.parametrize("told", ["trackio"], indirect=True)
def test_trackio_goes_on_with_its_run_and_prints_nothing_beside_json(told, tmp_path, monkeypatch, capsys):
    made = recipe("trackio")
    interrupted(monkeypatch, made, tmp_path / "run", at=3)
    train(made, tmp_path / "run", resume=True, show=False)
    (_, first), (_, second) = told["init"]
    assert first["name"] == second["name"]
    assert first["name"].startswith("run-")
    assert (first["resume"], second["resume"]) == ("never", "allow")
    assert len(told["finish"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "said on standard output" in captured.err


@pytest.mark.parametrize("told", ["trackio"], indirect=True)
def test_quiet_runs_hear_nothing_of_packages(told, tmp_path, capsys):
    with volume(quiet=True):
        Loggers(recipe("trackio"), RunFolder(tmp_path)).close(finished=True)
    assert capsys.readouterr() == ("", "")


def test_csv_has_a_table_a_kind_and_no_step_twice(tmp_path, monkeypatch):
    made = recipe("csv")
    interrupted(monkeypatch, made, tmp_path / "run", at=3)
    assert [row["step"] for row in rows(tmp_path / "run/csv/train.csv")] == ["1", "2", "3"]
    record = train(made, tmp_path / "run", resume=True, show=False)
    found = rows(tmp_path / "run/csv/train.csv")
    assert [row["step"] for row in found] == ["1", "2", "3", "4", "5"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [float(row["loss"]) for row in found] == [line["loss"] for line in lines if line["kind"] == "train"]
    assert {"start", "train", "val", "test", "summary"} == {path.stem for path in (tmp_path / "run/csv").iterdir()}
    summary = {row["name"]: row["value"] for row in rows(tmp_path / "run/csv/summary.csv")}
    assert float(summary["record.top1"]) == record.top1
    assert summary["recipe.batch_size"] == "256"


def test_csv_gives_a_new_number_a_column(tmp_path):
    logger = Csv()
    logger.open(LoggedRun(tmp_path, {}, {}))
    logger.metrics("val", step=1, epoch=1.0, values={"top1": 0.5})
    logger.metrics("val", step=2, epoch=2.0, values={"top1": 0.6, "loss": 1.5})
    logger.metrics("val", step=3, epoch=3.0, values={"loss": 1.25})
    assert [(row["step"], row["top1"], row["loss"]) for row in rows(tmp_path / "csv/val.csv")] == [
        ("1", "0.5", ""), ("2", "0.6", "1.5"), ("3", "", "1.25")
    ]  # fmt: skip
    logger.open(LoggedRun(tmp_path, {}, {}, step=0))
    assert not list((tmp_path / "csv").iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = recipe("tensorboard")
    interrupted(monkeypatch, made, tmp_path / "run", at=3)
    record = train(made, tmp_path / "run", resume=True, show=False)
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5]
    assert {"recipe/text_summary", "record/text_summary"} <= set(events.Tags()["tensors"])
    text = events.Tensors("record/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f'"top1": {record.top1}' in text


@pytest.mark.parametrize("calls", [1, 2])
def test_tensorboard_says_once_that_its_thread_could_not_write(calls, tmp_path, monkeypatch, capfd):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def refuse(self, data):
        raise OSError(5, "Input/output error")

    heard = []
    monkeypatch.setattr(threading, "excepthook", heard.append)
    loggers = Loggers(recipe("tensorboard"), RunFolder(tmp_path))
    loggers.flush()
    monkeypatch.setattr(RecordWriter, "write", refuse)

    def log():
        for step in range(calls):
            loggers.metrics("train", step=step, epoch=0.1, values={"loss": 1.0})
        loggers.close(finished=True)

    with pytest.warns(RefconvWarning, match="tensorboard: failed, .* found OSError: .* Input/output error") as said:
        log()
    assert len(said) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert heard == []
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert len(heard) == 1


@pytest.mark.parametrize("told", ["wandb"], indirect=True)
def test_a_logger_that_fails_is_left_behind_with_one_warning(told, tmp_path, monkeypatch):
    def fail(self, kind, *, step, **more):
        if step == 2:
            raise ConnectionError("no route")
        told.setdefault("heard", []).append(step)

    monkeypatch.setattr(KINDS["wandb"], "metrics", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = train(recipe("wandb", "csv"), tmp_path / "run", show=False)
    words = "log = wandb: failed, and is left out from here on; training goes on; found ConnectionError: no route"
    assert [str(one.message) for one in caught if one.category is RefconvWarning] == [words]
    assert told["heard"] == [0, 1]
    assert "finish" not in told
    assert record.steps == 5
    assert len(rows(tmp_path / "run/csv/train.csv")) == 5


@pytest.mark.parametrize("told", ["wandb"], indirect=True)
def test_a_logger_that_cannot_start_stops_the_run_before_it_begins(told, tmp_path, monkeypatch):
    def fail(self, run):
        raise ConnectionError("no route")

    monkeypatch.setattr(KINDS["wandb"], "open", fail)
    with pytest.raises(RunError, match="log = wandb: cannot be opened; found ConnectionError: no route"):
        train(recipe("csv", "wandb"), tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_package_is_one_line_before_anything_is_opened(name, tmp_path, monkeypatch, capsys):
    flags = ["--model", "nosuch", "--data", "digits", "--log", f"csv,{name}", "-o", str(tmp_path / "run")]
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == name else find(package))
    assert main(["train", *flags]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"refconv: error: log = {name}: needs a package that is not installed; expected {name}; "
        f"pip install 'refconv[{name}]'\n"
    )


def test_unknown_words_are_refused():
    with pytest.raises(RecipeError, match=r"log: unknown word; .*, found .wandbb.; did you mean wandb\?"):
        recipe("wandbb")
    with pytest.raises(RecipeError, match=r"log_kwargs\.projekt: unknown setting of a logger; .* did you mean project"):
        recipe("wandb", log_kwargs={"projekt": "p"})
    with pytest.raises(RecipeError, match=r"log_kwargs\.name: wrong type; expected a text, found 3"):
        recipe("wandb", log_kwargs={"name": 3})
    with pytest.raises(RecipeError, match="log_kwargs: has no effect without log"):
        recipe("csv", log_kwargs={"name": "n"})
