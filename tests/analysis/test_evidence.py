"""Data for analysis: samples drawn from the whole split, named by their places, and measures that fit the samples."""

import pytest
import torch

from refconv.analysis import evidence as evidence_module
from refconv.analysis.evidence import AnalysisConfig, open_evidence
from refconv.analysis.registry import DATA_MEASURES, OF_IMAGES
from refconv.data import open_data
from refconv.errors import DataError, SettingError
from refconv.models.networks import mobilenet_1d, mobilenet_small
from refconv.models.opening import Opened


def opened(model, in_chans=1, **more):
    return Opened(model.eval(), "m", {"in_chans": in_chans}, **more)


def small():
    return opened(mobilenet_small(width=0.25)), opened(mobilenet_small(width=0.25))


def test_batches_start_over_and_cover_the_split_once_in_a_drawn_order():
    evidence, impossible, _ = open_evidence(small(), AnalysisConfig(data="digits", samples=7, seconds=3, device="cpu"))
    assert impossible == {}
    first, second = (list(evidence.batches()) for _ in range(2))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
    images, labels = (torch.cat(parts) for parts in zip(*first, strict=True))
    whole = next(iter(open_data("digits", in_chans=1).eval_batches("test", batch_size=1000)))
    assert sorted(evidence.order) == list(range(359)) != list(evidence.order)
    assert torch.equal(images, whole[0][list(evidence.order)])
    assert torch.equal(labels, whole[1][list(evidence.order)])
    assert evidence.settings == {"max_samples": 7, "max_seconds": 3, "progress": None}
    training = torch.cat([labels for _, labels in evidence.training()])
    assert 359 < len(training) == 1024


def test_images_and_kernels_of_images_are_channels_last_and_batches_of_a_cpu_are_small():
    pair = small()
    states = [{name: value.clone() for name, value in side.model.state_dict().items()} for side in pair]
    evidence, *_ = open_evidence(pair, AnalysisConfig(data="digits", device="cpu"))
    images, labels = next(iter(evidence.batches()))
    assert len(labels) == 32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for side, state in zip(pair, states, strict=True):
        kernels = [parameter for parameter in side.model.parameters() if parameter.ndim == 4]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
        assert all(torch.equal(value, state[name]) for name, value in side.model.state_dict().items())


def test_rows_name_samples_by_their_places_in_the_data():
    torch.manual_seed(0)
    pair = small()
    evidence, *_ = open_evidence(pair, AnalysisConfig(data="digits", samples=40, device="cpu"))
    found = DATA_MEASURES["agreement"](pair[0].model, pair[1].model, evidence)["pair"]
    shown = DATA_MEASURES["attention"](pair[0].model, pair[1].model, evidence)["pair"].shown
    images, labels = next(iter(open_data("digits", in_chans=1).eval_batches("test", batch_size=1000)))
    assert found.changed
    assert max(row.place for row in found.changed) > 40
    for row in (*found.changed, *shown):
        assert row.target == labels[row.place]
        for side, named in zip(pair, (row.before, row.after), strict=True):
            assert named == int(side.model(images[row.place][None]).argmax())


def test_signals_are_neither_corrupted_nor_shifted_nor_shown():
    pair = opened(mobilenet_1d(width=0.25)), opened(mobilenet_1d(width=0.25))
    evidence, impossible, _ = open_evidence(pair, AnalysisConfig(data="mnist1d", device="cpu"))
    assert set(impossible) == set(OF_IMAGES)
    assert impossible["shifts"] == "it needs images [channels, height, width], and these samples are [1, 40]"
    assert next(iter(evidence.batches()))[0].shape[1:] == (1, 40)
    assert evidence.settings == {"max_seconds": None, "progress": None}


def test_large_samples_come_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(evidence_module, "_NUMBERS", 64 * 20)
    evidence, *_ = open_evidence(small(), AnalysisConfig(data="digits", device="cpu"))
    assert next(iter(evidence.batches()))[0].shape == (20, 1, 8, 8)
    assert sum(len(labels) for _, labels in evidence.training()) == 1040  # whole batches


def test_only_classifiers_are_measured_on_data():
    pair = small()[0], opened(mobilenet_small(width=0.25), task="detection")
    with pytest.raises(
        SettingError, match="--data: measures with data are for classifiers; found a model for detection"
    ):
        open_evidence(pair, AnalysisConfig(data="digits", device="cpu"))


def test_a_split_that_is_not_there_is_said_when_it_is_read():
    evidence, *_ = open_evidence(small(), AnalysisConfig(data="digits", split="val", device="cpu"))
    with pytest.raises(DataError, match="no samples to evaluate on"):
        next(iter(evidence.batches()))
