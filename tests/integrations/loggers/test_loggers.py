"""docs/integrations/loggers.md: an interrupted run is one run in Weights & Biases, MLflow and Trackio themselves."""

import json
from pathlib import Path

import pytest

from integration_pages import MARKS, run_page
from refconv.engine import epochs
from refconv.engine.loop import train
from refconv.process.interruption import StoppedError
from refconv.recipe.recipe import Recipe

pytestmark = MARKS
STEPS = [1, 2, 3, 4, 5]


def resumed_run(monkeypatch, out, name):
    """Train with a logger, be interrupted after the third step, go on from the second; return recipe and record."""
    recipe = Recipe(
        model="refconv.models.networks:mobilenet_small", model_kwargs={"width": 0.25}, data="digits", val_split=0.1,
        epochs=1, batch_size=256, log_interval=1, checkpoint_interval=2, device="cpu", workers=0, log=(name,),
        log_kwargs={"project": "tests", "tags": ["a", "b"], "group": "g"},
    )  # fmt: skip
    step = epochs.Loop._step

    def stop(self, batches):
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(epochs.Loop, "_step", stop)
        with pytest.raises(StoppedError):
            train(recipe, out, show=False)
    return recipe, train(recipe, out, resume=True, show=False)


def test_the_page_logs_to_all_of_them(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run_page("loggers", tmp_path)
    run = tmp_path / "runs/first"
    assert set(json.loads((run / "loggers.json").read_text())) == {"wandb", "mlflow", "trackio"}
    assert {path.name for path in run.iterdir()} >= {"csv", "tensorboard", "wandb", "record.json"}


def test_mlflow_has_one_run(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # artifacts go beside the data base
    recipe, record = resumed_run(monkeypatch, tmp_path / "run", "mlflow")
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["model"] == recipe.model
    assert run.data.tags["group"] == "g"
    losses = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "train/loss")}
    assert sorted(losses) == STEPS
    assert run.data.metrics["record/top1"] == record.top1
    file = client.download_artifacts(run.info.run_id, "record.json", str(tmp_path))
    assert json.loads(Path(file).read_text())["top1"] == record.top1


def test_wandb_has_one_id_in_both_sessions(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    resumed_run(monkeypatch, tmp_path / "run", "wandb")
    found = json.loads((tmp_path / "run/loggers.json").read_text())["wandb"]
    sessions = sorted((tmp_path / "run/wandb").glob("offline-run-*"))
    assert [folder.name.rpartition("-")[2] for folder in sessions] == [found, found]
    assert all(list(folder.glob(f"run-{found}.wandb")) for folder in sessions)


def test_trackio_has_one_run(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    _, record = resumed_run(monkeypatch, tmp_path / "run", "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("tests")
    assert name == json.loads((tmp_path / "run/loggers.json").read_text())["trackio"]
    rows = SQLiteStorage.get_logs("tests", name)
    assert sorted({row["step"] for row in rows if "train/loss" in row}) == STEPS
    assert [row["record/top1"] for row in rows if "record/top1" in row] == [record.top1]
