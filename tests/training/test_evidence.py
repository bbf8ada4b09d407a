"""Data for analysis: batches that start over, training batches for statistics, and measures that fit the samples."""

import pytest
import torch

from refconv.analysis.registry import DATA_MEASURES, OF_IMAGES
from refconv.errors import DataError, SettingError
from refconv.training.evidence import open_evidence
from refconv.training.networks import mobilenet_1d, mobilenet_small
from refconv.training.opening import Opened


def opened(model, in_chans=1, **more):
    return Opened(model.eval(), "m", {"in_chans": in_chans}, **more)


def test_batches_start_over_and_cover_the_split_once():
    pair = opened(mobilenet_small(width=0.25)), opened(mobilenet_small(width=0.25))
    evidence, possible = open_evidence(pair, "digits", samples=7, device="cpu")
    assert possible == tuple(DATA_MEASURES)
    first, second = (list(evidence.batches()) for _ in range(2))
    assert sum(len(labels) for _, labels in first) == 359
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
    assert evidence.settings == {"max_samples": 7, "max_seconds": None, "progress": None}
    training = torch.cat([labels for _, labels in evidence.training()])
    assert 359 < len(training) == 1024


def test_signals_are_neither_corrupted_nor_shifted():
    pair = opened(mobilenet_1d(width=0.25)), opened(mobilenet_1d(width=0.25))
    evidence, possible = open_evidence(pair, "mnist1d", device="cpu")
    assert set(DATA_MEASURES) - set(possible) == set(OF_IMAGES)
    assert next(iter(evidence.batches()))[0].shape[1:] == (1, 40)
    assert evidence.settings == {"max_seconds": None, "progress": None}


def test_only_classifiers_are_measured_on_data():
    pair = opened(mobilenet_small(width=0.25)), opened(mobilenet_small(width=0.25), task="detection")
    with pytest.raises(
        SettingError, match="--data: measures with data are for classifiers; found a model for detection"
    ):
        open_evidence(pair, "digits", device="cpu")


def test_a_split_that_is_not_there_is_said_when_it_is_read():
    pair = opened(mobilenet_small(width=0.25)), opened(mobilenet_small(width=0.25))
    evidence, _ = open_evidence(pair, "digits", split="val", device="cpu")
    with pytest.raises(DataError, match="no samples to evaluate on"):
        next(iter(evidence.batches()))
