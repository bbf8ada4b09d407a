"""Two run folders compared, and the metrics of one: for tests of runs."""

import json
from pathlib import Path

import torch

from refconv.engine import RunRecord
from refconv.models.checkpoint import Checkpoint


def same_result(one, other):
    """Assert that two run folders hold the same weights, bit for bit, the same losses and the same accuracy."""
    assert (one / "model/model.safetensors").read_bytes() == (other / "model/model.safetensors").read_bytes()
    first, second = Checkpoint.load(one / "checkpoint.pt"), Checkpoint.load(other / "checkpoint.pt")
    assert all(torch.equal(value, second.model[key]) for key, value in first.model.items())
    speeds = {"samples_per_second"}
    rows, others = (
        [{k: v for k, v in row.items() if k not in speeds} for row in read_metrics(run / "metrics.jsonl")]
        for run in (one, other)
    )
    assert rows == others
    records = [RunRecord.read(run / "record.json") for run in (one, other)]
    for name in ("top1", "top5", "loss", "train_loss", "validation", "steps"):
        assert getattr(records[0], name) == getattr(records[1], name), name


def read_metrics(path, kind=None):
    """Read the lines of a metrics.jsonl, perhaps of one kind only, leaving out a last one that was cut short."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]]
    return [row for row in rows if kind is None or row["kind"] == kind]
