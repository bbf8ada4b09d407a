"""The loss at other weights: statistics from scratch, and the model left as found."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import refconv
from networks import EveryKind
from refconv.analysis.batches import Passage
from refconv.analysis.probe import Probe, pair_probes
from refconv.errors import DataError, ModelError


def data(count=12, sizes=(5, 4, 3), classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 20, 20, generator=generator, dtype=dtype)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return list(zip(images.split(sizes), labels.split(sizes), strict=True))


def network(seed=0):
    torch.manual_seed(seed)
    return EveryKind().double()


def moved_away(model):
    generator = torch.Generator().manual_seed(5)
    return {
        name: value.detach() + 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in model.named_parameters()
    }


def test_recalibrated_statistics_are_those_of_all_samples():
    model, batches = network(), data()
    parameters = moved_away(model)
    found = Probe(model, Passage(batches)).recalibrated(parameters)
    stem = copy.deepcopy(model.stem)
    stem.load_state_dict({"weight": parameters["stem.weight"], "bias": parameters["stem.bias"]})
    rows = stem(torch.cat([images for images, _ in batches])).movedim(1, 0).flatten(1).detach()
    torch.testing.assert_close(found["norm.running_mean"], rows.mean(1))
    torch.testing.assert_close(found["norm.running_var"], rows.var(1))
    averaged = torch.stack([stem(images).movedim(1, 0).flatten(1).var(1) for images, _ in batches]).mean(0)
    assert not torch.allclose(found["norm.running_var"], averaged, rtol=1e-6)  # without the variance between batches


def test_deeper_layers_are_recalibrated_behind_normalised_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
    model.double()
    batches = data(sizes=(12,))
    found = Probe(model, Passage(batches)).recalibrated(dict(model.named_parameters()))
    fresh = copy.deepcopy(model).train()
    for norm in (fresh[1], fresh[4]):
        norm.reset_running_stats()
        norm.momentum = None  # of one batch, torch's own running statistics are exact
    fresh(batches[0][0])
    for name in ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var"):
        torch.testing.assert_close(found[name], fresh.get_buffer(name))


def test_loss_at_given_weights_is_that_of_a_model_with_these_weights():
    model, batches = network(), data()
    probe = Probe(model, Passage(batches))
    parameters = moved_away(model)
    there = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, parameter in there.named_parameters():
            parameter.copy_(parameters[name])
        there.norm.running_mean.copy_(probe.recalibrated(parameters)["norm.running_mean"])
        there.norm.running_var.copy_(probe.recalibrated(parameters)["norm.running_var"])
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        expected = float(F.cross_entropy(there(images), labels))
    assert probe.at(parameters) == pytest.approx(expected, rel=1e-12)
    with torch.no_grad():
        as_is = float(F.cross_entropy(copy.deepcopy(model).eval()(images), labels))
    assert probe.as_is() == pytest.approx(as_is, rel=1e-12)  # batches count by their samples
    assert probe.at(probe.parameters) != pytest.approx(as_is, rel=1e-6)  # statistics of untrained norms are not these


def test_models_are_left_as_found_even_when_the_loss_fails(state_of):
    model = network().train()
    model.head.eval()
    model.stem.requires_grad_(False)
    state, numbers = state_of(model), torch.get_rng_state()

    def failing(outputs, targets):
        torch.rand(1)
        raise KeyError("loss")

    probe = Probe(model, Passage(data()))
    assert probe.at(moved_away(model)) is not None
    with pytest.raises(KeyError):
        Probe(model, Passage(data()), loss=failing).as_is()
    assert state.unchanged()
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_data_are_left_as_they_are_by_layers_that_work_in_place():
    batches = [(torch.full((2, 3), -1.0), torch.zeros(2).long())]
    probe = Probe(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), Passage(batches))
    assert probe.as_is() == probe.at(probe.parameters)
    assert bool((batches[0][0] == -1).all())


def test_half_precision_is_measured_in_single():
    model = network().bfloat16()
    single = copy.deepcopy(model).float()
    batches = data()
    assert Probe(model, Passage(batches)).as_is() == Probe(single, Passage(batches)).as_is()


def test_losses_that_are_not_finite_are_none_and_a_model_of_them_is_refused():
    probe = Probe(nn.Linear(2, 2), Passage([(torch.full((1, 2), 1e38), torch.zeros(1).long())]))
    huge = {name: value + 100 for name, value in probe.parameters.items()}
    assert probe.at(huge) is None
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 100)
    with pytest.raises(ModelError, match="Linear: the model's loss is not finite"):
        Probe(model, probe.batches).as_is()


def spoilt(model):
    model.norm.running_var[0] = float("nan")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoilt, "norm.running_var: the weight has entries that are not finite"),
        (refconv.refocus, "analysis reads plain models"),
        (lambda model: model.to("meta"), "no values yet"),
    ],
    ids=["not-finite", "refocused", "meta"],
)
def test_models_that_cannot_be_measured_are_refused(spoil, message):
    model = network()
    spoil(model)
    with pytest.raises(ModelError, match=message) as caught:
        pair_probes(model, network(), data())
    assert "\n" not in str(caught.value)


def test_other_architectures_and_other_data_are_refused():
    other = network()
    other.head = nn.Linear(6, 7).double()
    with pytest.raises(ModelError, match=r"head.weight: the two models differ; expected \[5, 6\], found \[7, 6\]"):
        pair_probes(network(), other, data())
    other.more = nn.Linear(1, 1)
    other.head = network().head
    with pytest.raises(ModelError, match=r"2 only in the second \(more.weight, more.bias\)"):
        pair_probes(network(), other, data())
    with pytest.raises(ModelError, match="EveryKind: the model does not take this data") as caught:
        Probe(network(), Passage([(torch.zeros(2, 7, 8, 8), torch.zeros(2).long())])).as_is()
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="the loss is not one number"):
        Probe(network(), Passage(data()), loss=lambda outputs, targets: outputs).as_is()


def test_one_value_per_channel_cannot_recalibrate():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    probe = Probe(model, Passage([(torch.zeros(1, 2), torch.zeros(1).long())]))
    with pytest.raises(DataError, match="1: one value per channel has no variance"):
        probe.at(probe.parameters)
