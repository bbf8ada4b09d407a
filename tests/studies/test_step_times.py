"""Step times are paired with the reference, kept, and taken anew where they no longer hold."""

import dataclasses

import pytest

from refconv.studies import estimate
from refconv.studies.estimate import kept_step_times, step_times
from refconv.studies.runs import Runs
from small_studies import study

POINT = {"lr": 0.05}


@pytest.fixture
def runs(tmp_path):
    found = Runs(study(tmp_path), tmp_path, {"mobilenet": 1000})
    return {method.name: found.final(architecture, method, POINT)[0] for architecture, method in found.cells}


@pytest.fixture
def timed(monkeypatch):
    calls = []

    def seconds(recipes, turns):
        calls.append(recipes)
        return {"plain": [0.010, 0.020, 0.030], "refocus": [0.011, 0.024, 0.030]}

    monkeypatch.setattr(estimate, "step_seconds", seconds)
    return calls


def test_ratios_are_medians_of_pairs(runs, timed):
    times = step_times(runs, "plain")
    assert times.median_ms == {"plain": pytest.approx(20), "refocus": pytest.approx(24)}
    assert times.ratio == {"plain": 1.0, "refocus": pytest.approx(1.1)}  # of 1.1, 1.2 and 1.0
    assert step_times(runs, "refocus").ratio["refocus"] == 1.0
    assert timed[0]["plain"].checkpoint is None  # the base is not there, and a step takes as long without


def test_times_are_kept_while_the_settings_are_the_same(runs, timed, tmp_path):
    path = tmp_path / "times" / "net.json"
    first = kept_step_times(path, runs, "plain")
    assert kept_step_times(path, runs, "plain") == first
    assert kept_step_times(path, {"refocus": runs["refocus"]}, "plain") == first
    other = dataclasses.replace(runs["plain"].recipe, seed=9, lr=1.0)
    seeds = {**runs, "plain": dataclasses.replace(runs["plain"], recipe=other)}
    assert kept_step_times(path, seeds, "plain") == first
    assert len(timed) == 1
    wider = dataclasses.replace(runs["plain"].recipe, model_kwargs={"width": 2.0})
    kept_step_times(path, {**runs, "plain": dataclasses.replace(runs["plain"], recipe=wider)}, "plain")
    assert len(timed) == 2
    kept_step_times(path, runs, "refocus")
    assert len(timed) == 3
