"""Two networks of one structure are timed in turns; others are refused."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from exported_networks import Small, lively, opened
from ready_processes import run_script
from refconv.errors import ModelError, SettingError
from refconv.exporting import BenchRecord, Timing, timing as module
from refconv.exporting.timing import bench, median_interval

INPUT = {"input_size": [3, 12, 16]}


class Bounded(Small):
    """Of the same modules, whether its outputs are bounded or not."""

    def __init__(self, bounded):
        super().__init__()
        self.bounded = bounded

    def forward(self, x):
        return torch.tanh(super().forward(x)) if self.bounded else super().forward(x)


def test_two_networks_of_one_structure_are_timed_in_torch_and_onnxruntime(monkeypatch):
    forking = SimpleNamespace(run=lambda command, **_: run_script(command[-1]))
    monkeypatch.setattr(module, "subprocess", forking)  # what measures memory is a fork, and imports nothing
    record = bench(opened(lively(Small()), **INPUT), opened(lively(Small(), 1), **INPUT), batch_size=2, repetitions=12)
    assert [timing.runtime for timing in record.timings] == ["torch", "onnxruntime"]
    for timing in record.timings:
        assert 0 < timing.low <= timing.ratio <= timing.high
        assert timing.before_ms > 0
        assert timing.before_mb is None or timing.before_mb > 0
    assert record.shape == (2, 3, 12, 16)
    assert record.parameters == sum(value.numel() for value in Small().parameters())
    assert BenchRecord.from_json(record.to_json()) == record
    assert "the same: " in str(record)


def test_networks_of_two_structures_are_refused():
    with pytest.raises(ModelError, match="not the same network, so nothing was measured; refconv verify says"):
        bench(opened(lively(Small(4)), **INPUT), opened(lively(Small(5)), **INPUT))


def test_networks_with_another_graph_are_refused():
    with pytest.raises(ModelError, match="not the same graph in ONNX; found Tanh 0 and 1"):
        bench(opened(lively(Bounded(False)), **INPUT), opened(lively(Bounded(True)), **INPUT))


def test_too_few_repetitions_are_refused():
    with pytest.raises(SettingError, match="repetitions: too few for an interval; expected 10, found 3"):
        bench(opened(lively(Small()), **INPUT), opened(lively(Small()), **INPUT), repetitions=3)


def test_the_interval_of_the_median_covers_it_in_95_of_100_draws():
    values = np.sort(np.random.default_rng(0).exponential(size=(4000, 50)), axis=1)
    truth = np.log(2)
    intervals = np.array([median_interval(row.tolist()) for row in values])
    covered = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()
    low = int((values[0] < intervals[0, 0]).sum())
    exact = 1 - 2 * scipy.stats.binom.cdf(low, 50, 0.5)
    assert 0.95 <= covered < 0.985
    assert covered == pytest.approx(exact, abs=0.012)


def test_a_record_without_memory_says_so():
    timing = Timing("torch", 1.0, 1.0, 1.0, 0.9, 1.1, None, None)
    assert "memory not measured here" in str(timing)
    assert copy.copy(timing) == timing
