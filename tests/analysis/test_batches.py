"""What all measures with data keep to: batches of any kind, models left as found, errors of one line, a section."""

from pathlib import Path

import pytest
import torch
from torch import nn

from networks import EveryKind
from refconv import analysis
from refconv.analysis.batches import Passage, observing
from refconv.errors import DataError, ModelError, SettingError

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def attention(before, after, batches, **settings):
    return analysis.attention(before, after, batches, mean=MEAN, std=STD, **settings)


def linear_probes(before, after, batches, **settings):
    return analysis.linear_probes(before, after, batches, calibration=batches, **settings)


def explanations(before, after, batches, **settings):
    return analysis.explanations(before, after, batches, steps=2, **settings)


def single(measure, **settings):
    """A measure of one model, called as those of a pair are; the second model is the one measured."""

    def call(before, after, batches, **further):
        del before
        return measure(after, batches, **settings, **further)

    return pytest.param(call, id=measure.__name__)


SINGLE = (
    (analysis.adversarial_robustness, {"mean": MEAN, "std": STD, "radii": (0.05,), "steps": 2}),
    (analysis.corruption_robustness, {"mean": MEAN, "std": STD}),
    (analysis.shift_consistency, {"pixels": 1}),
    (analysis.calibration, {}),
    (analysis.receptive_field, {}),
)
PAIRS = (
    *(analysis.agreement, analysis.similarity, analysis.nearest_neighbours, analysis.feature_spectra),
    *(attention, linear_probes, explanations),
)
MEASURES = [single(measure, **settings) for measure, settings in SINGLE]
MEASURES += [pytest.param(measure, id=measure.__name__) for measure in PAIRS]


class Moody(EveryKind):
    """Counts its calls in a buffer and draws random numbers, also in eval mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        self.calls += 1
        torch.rand(3)
        return self.dropout(super().forward(x.mul_(1)))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(10, 3, 20, 20, generator=generator)
    labels = torch.randint(0, 5, (10,), generator=generator)
    return [((pixels - 0.5) / 0.25, labels)]


@pytest.mark.parametrize("measure", MEASURES)
def test_models_data_and_random_numbers_are_left_as_found(measure, data, state_of):
    torch.manual_seed(0)
    pair = [Moody(), Moody()]
    pair[0].stem.requires_grad_(False)
    pair[1].eval()
    pair[1].norm.train()
    state, numbers, kept = state_of(*pair), torch.get_rng_state(), data[0][0].clone()
    found = measure(*pair, data)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert torch.equal(data[0][0], kept)
    assert measure(*pair, data) == found
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("measure", MEASURES)
def test_half_precision_frozen_models_and_no_gradients_will_do(measure, data):
    torch.manual_seed(0)
    pair = [EveryKind().bfloat16().requires_grad_(False) for _ in range(2)]
    batches = [(samples.bfloat16(), targets) for samples, targets in data]
    with torch.no_grad():
        found = measure(*pair, batches)
    assert type(found).from_json(found.to_json()) == found


@pytest.mark.parametrize("measure", MEASURES)
def test_a_model_that_fails_is_left_as_found(measure, data, state_of):
    pair = [EveryKind(), EveryKind()]
    state, numbers = state_of(*pair), torch.get_rng_state()
    with pytest.raises(ModelError, match="does not take this data"):
        measure(*pair, [(samples.repeat_interleave(2, 3)[:, :, :3, :3], targets) for samples, targets in data])
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)


def broken(samples=None, targets=None):
    def change(batch):
        return samples(batch[0]) if samples else batch[0], targets(batch[1]) if targets else batch[1]

    return change


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken(samples=lambda x: x[:3]), "samples and targets do not fit each other"),
        (broken(samples=lambda x: x.log()), "the samples are not finite"),
        (broken(samples=lambda x: x.tolist()), r"pair of tensors; expected \(samples, targets\), found \(list, Tensor"),
        (broken(samples=lambda x: x[:0], targets=lambda y: y[:0]), "there are no samples"),
    ],
    ids=["lengths", "not-finite", "lists", "empty"],
)
def test_bad_batches_are_refused_in_one_line(measure, change, message, data):
    with pytest.raises(DataError, match=message) as caught:
        measure(EveryKind(), EveryKind(), [change(batch) for batch in data])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [(lambda y: y.float(), r"torch.float32 \[10\]"), (nn.functional.one_hot, r"torch.int64 \[10, 5\]")],
    ids=["floats", "one-hot"],
)
def test_targets_that_are_no_classes_are_refused_where_they_are_read(change, found, data):
    batches = [(samples, change(targets)) for samples, targets in data]
    with pytest.raises(DataError, match=f"targets are no classes; expected whole numbers .batch., found {found}"):
        analysis.agreement(EveryKind(), EveryKind(), batches)
    model = EveryKind()
    assert analysis.receptive_field(model, batches) == analysis.receptive_field(model, data)


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_models_and_bounds_are_refused_in_one_line(measure, data):
    spoilt = EveryKind()
    spoilt.norm.running_var[0] = float("inf")
    lazy = nn.Sequential(nn.LazyConv2d(3, 3))
    for model, message in ((spoilt, r"norm\.running_var: .*not finite"), (lazy, "no values yet"), (None, "a torch.nn")):
        with pytest.raises(ModelError, match=message) as caught:
            measure(EveryKind(), model, data)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="max_samples: too few"):
        measure(EveryKind(), EveryKind(), data, max_samples=0)


def test_a_passage_counts_tells_and_cuts():
    batches = [(torch.zeros(n, 1), torch.zeros(n, dtype=torch.long)) for n in (3, 0, 2, 4)]
    told = []
    passage = Passage(batches, 6, lambda *done: told.append(done))
    assert [len(targets) for _, targets in passage] == [3, 2, 1]
    assert (passage.samples, passage.cut, told) == (6, True, [(3, 6), (5, 6), (6, 6)])
    told.clear()
    passage = Passage(lambda: iter(batches), None, lambda *done: told.append(done))
    assert [len(targets) for _, targets in passage] == [3, 2, 4]
    assert (passage.samples, passage.cut, told) == (9, False, [(3, 0), (5, 0), (9, 0)])


IMAGES, LABELS = torch.arange(12.0).reshape(6, 2), torch.arange(6)
TWO = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]


@pytest.mark.parametrize("batches", [TWO, lambda: iter(TWO)], ids=["list", "function"])
@pytest.mark.parametrize(("most", "taken", "cut"), [(None, 6, False), (6, 6, False), (5, 5, True), (4, 4, True)])
def test_every_pass_has_the_same_first_samples(batches, most, taken, cut):
    passage = Passage(batches, most)
    for _ in range(2):
        passed = list(passage)
        assert (passage.samples, passage.cut) == (taken, cut)
        assert torch.equal(torch.cat([samples for samples, _ in passed]), IMAGES[:taken])
        assert torch.equal(torch.cat([targets for _, targets in passed]), LABELS[:taken])


def test_a_pass_that_was_left_early_is_no_shorter_the_next_time():
    passage = Passage(TWO)
    next(iter(passage))
    assert passage.samples == 0
    assert [len(targets) for _, targets in passage] == [4, 2]


def test_an_iterator_is_refused_and_a_function_that_returns_one_is_found_out():
    with pytest.raises(DataError, match="batches cannot be gone through again; .*, found list_iterator"):
        Passage(iter(TWO))
    once = iter(TWO)
    passage = Passage(lambda: once)
    list(passage)
    with pytest.raises(DataError, match="batches ended early in a later pass; expected 6 samples in every pass, fo"):
        list(passage)


def fail(model):
    with observing(model):
        assert not model[0].training
        raise ZeroDivisionError


def test_modes_come_back_after_an_error():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()).train()
    model[1].eval()
    with pytest.raises(ZeroDivisionError):
        fail(model)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_every_measure_has_its_section():
    page = (Path(__file__).resolve().parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    for measure in (*PAIRS, *(measure for measure, _ in SINGLE)):
        assert measure.__name__ in analysis.__all__
        assert page.count(f": `{measure.__name__}`\n") == 1
