"""Loggers of packages that keep the runs of many projects together: Weights & Biases, MLflow, Trackio.

Where they log to, and whether over a network, is set as these packages say: ``WANDB_MODE=offline``,
``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR``.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from typing import Any

from refconv.engine.loggers.logger import LoggedRun, Logger, flat
from refconv.process.volume import quiet

_LONGEST = 500  #: Characters of a value that MLflow takes in all its versions


def _named(kind: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{kind}/{name}": value for name, value in values.items()}


class Wandb(Logger):
    """A run of Weights & Biases; its files are in RUN/wandb."""

    package, extra = "wandb", "wandb"

    def open(self, run: LoggedRun) -> str | None:
        """Start a run with the recipe as its config, or go on with the one of this id."""
        import wandb

        self._run = wandb.init(
            project=run.project, name=run.name, group=run.group, tags=run.tags or None, config=dict(run.recipe),
            dir=str(run.folder), id=run.id or uuid.uuid4().hex[:8], resume="allow", reinit="create_new",
            settings=wandb.Settings(silent=True) if quiet() else None,
        )  # fmt: skip
        # Steps after the last checkpoint are logged again, and wandb's own step cannot go back.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Log numbers against the step of the run."""
        self._run.log({**_named(kind, values), "step": step, "epoch": epoch})

    def record(self, record: Mapping[str, Any]) -> None:
        """Write the record into the summary."""
        self._run.summary.update({f"record/{name}": value for name, value in flat(record).items()})

    def close(self, *, finished: bool) -> None:
        """End the run, as failed where it can be resumed."""
        self._run.finish(exit_code=0 if finished else 1)


class Mlflow(Logger):
    """A run of MLflow, in the experiment that has the project's name."""

    package, extra = "mlflow", "mlflow"

    def open(self, run: LoggedRun) -> str | None:
        """Start a run with the recipe as its parameters, or go on with the one of this id."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient()
        if run.id is not None:
            client.update_run(run.id, status="RUNNING")
            self._id = run.id
            return run.id
        experiment = client.get_experiment_by_name(run.project)
        known = client.create_experiment(run.project) if experiment is None else experiment.experiment_id
        tags = {**dict.fromkeys(run.tags, "true"), **({} if run.group is None else {"group": run.group})}
        self._id = str(client.create_run(known, run_name=run.name, tags=tags).info.run_id)
        params = [Param(name, str(value)[:_LONGEST]) for name, value in flat(run.recipe).items() if str(value)]
        client.log_batch(self._id, params=params)
        return self._id

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Log numbers of a step."""
        self._log({**_named(kind, values), "epoch": epoch}, step)

    def record(self, record: Mapping[str, Any]) -> None:
        """Log the numbers of the record as metrics, and all of it as record.json."""
        numbers = {name: value for name, value in flat(record).items() if isinstance(value, (int, float))}
        finite = {f"record/{name}": float(value) for name, value in numbers.items() if math.isfinite(value)}
        self._log(finite, int(record.get("steps", 0)))
        self._client.log_dict(self._id, dict(record), "record.json")

    def close(self, *, finished: bool) -> None:
        """End the run, as killed where it can be resumed."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "KILLED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])


class Trackio(Logger):
    """A run of Trackio, by default on this machine."""

    package, extra = "trackio", "trackio"

    def open(self, run: LoggedRun) -> str | None:
        """Start a run with the recipe as its config, or go on with the one of this name."""
        import trackio

        # A run is found again by its name, which so must be its own.
        name = run.id or f"{run.name}-{uuid.uuid4().hex[:6]}"
        how = "never" if run.id is None else "allow"
        config = flat(run.recipe)
        self._run = trackio.init(run.project, name=name, group=run.group, config=config, resume=how, embed=False)
        return name

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Log numbers of a step."""
        self._run.log({**_named(kind, values), "epoch": epoch}, step=step)

    def record(self, record: Mapping[str, Any]) -> None:
        """Log the record at the last step."""
        values = {f"record/{name}": value for name, value in flat(record).items()}
        self._run.log(values, step=int(record.get("steps", 0)))

    def close(self, *, finished: bool) -> None:
        """End the run."""
        import trackio

        trackio.finish()  # the run's own method would be called again when Python ends
