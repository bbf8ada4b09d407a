"""States of kernel space from other programs merge to what the model itself merges to, or say what they lack."""

import io

import pytest
import torch

import refconv
from networks import EveryKind, randomise
from refconv.errors import CheckpointError
from refconv.surgery import in_kernel_space, merged_state, metadata_of, refocused_state_dict, reparametrize

SETTINGS = {"order": "across", "power": 0.5, "map_size": 5}


def refocused(**settings):
    torch.manual_seed(0)
    model = EveryKind().double()
    refconv.refocus(model, **settings)
    randomise(model)
    return model


def saved(state):
    """A state dict as torch.save and a reading that runs no code give it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def stripped(state):
    """A state dict as safetensors keeps it: without metadata."""
    return dict(state)


def assert_merges(state, model, settings=None):
    expected = refconv.plain_state_dict(model)
    found = merged_state(EveryKind().double(), state, settings, where="x")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    assert metadata_of(found) in ({}, metadata_of(EveryKind().state_dict()))


@pytest.mark.parametrize("names", [lambda model: model.state_dict(), refocused_state_dict], ids=["torch", "files"])
def test_a_state_says_its_settings_itself(names):
    model = refocused(**SETTINGS)
    assert in_kernel_space(names(model))
    assert_merges(saved(names(model)), model)


@pytest.mark.parametrize("names", [lambda model: model.state_dict(), refocused_state_dict], ids=["torch", "files"])
def test_what_a_state_does_not_say_is_asked_for_and_the_map_follows_from_the_shapes(names):
    model = refocused(**SETTINGS)
    state = stripped(names(model))
    with pytest.raises(CheckpointError, match=r"not with which .*order.*power.*refconv merge x --model NAME .*--power"):
        merged_state(EveryKind().double(), state, where="x")
    told = {
        name: value for name, value in model.stem.parametrizations.weight[0].settings().items() if name != "map_size"
    }
    assert_merges(state, model, told)
    other = merged_state(EveryKind().double(), state, {**told, "power": 1.0}, where="x")
    assert not torch.equal(other["stem.weight"], refconv.plain_state_dict(model)["stem.weight"])


def test_settings_that_contradict_the_state_are_refused():
    with pytest.raises(CheckpointError, match="disagrees with the flags; expected power 0.5, found power 1"):
        merged_state(EveryKind().double(), refocused(**SETTINGS).state_dict(), {"power": 1.0}, where="x")


def test_other_transformations_say_themselves_what_they_are():
    torch.manual_seed(0)
    model = EveryKind().double()
    reparametrize(model, "low_rank", rank=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
    assert in_kernel_space(saved(model.state_dict()))
    assert_merges(saved(model.state_dict()), model)


def test_a_state_trained_with_other_settings_is_not_loaded_into_a_refocused_model():
    with pytest.raises(RuntimeError, match=r"stem: trained with other settings: .*power 0.5 instead of 1.0"):
        refocused().load_state_dict(refocused(power=0.5).state_dict())
    refocused().load_state_dict(refocused().state_dict())


def test_refocus_weights_without_their_kernels_are_refused():
    state = {name: value for name, value in refocused().state_dict().items() if not name.endswith("original")}
    with pytest.raises(CheckpointError, match="without the kernel it belongs to"):
        merged_state(EveryKind().double(), state, where="x")


def test_a_plain_state_keeps_the_versions_of_its_modules():
    assert metadata_of(refconv.plain_state_dict(refocused())) == metadata_of(EveryKind().state_dict())


class Large(torch.nn.Sequential):
    """Kernels that a map of 3 x 3 and one of 1 x 9 fit, and one that tells them apart."""

    def __init__(self, telling):
        super().__init__(torch.nn.Conv2d(4, 4, 7, groups=4), torch.nn.Conv2d(4, 4, 3 if telling else 5, groups=4))


@pytest.mark.parametrize("size", [3, (1, 9), (9, 1)])
@pytest.mark.parametrize("telling", [True, False])
def test_the_size_of_a_map_is_asked_for_only_where_the_shapes_of_all_layers_leave_it_open(size, telling):
    torch.manual_seed(0)
    model = Large(telling)
    refconv.refocus(model, map_size=size)
    randomise(model)
    state = stripped(model.state_dict())
    told = {"power": 1.0, "scale": "capped"}
    expected = refconv.plain_state_dict(model)
    if not (telling and size == 3):  # 1 x 9 and 9 x 1 are 1 x 5 and 5 x 1 at a kernel of 3 x 3
        with pytest.raises(CheckpointError, match=r"0 in x: .* which map_size; found .*1x9 or.* 9x1.*--map-size"):
            merged_state(Large(telling), state, told, where="x")
        told["map_size"] = size
    found = merged_state(Large(telling), state, told, where="x")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_layers_refocused_with_maps_of_their_own_are_told_apart_by_their_shapes():
    torch.manual_seed(0)
    model = Large(telling=True)
    refconv.refocus(model, include="0", map_size=5)
    refconv.refocus(model, include="1", map_size=(1, 3))
    randomise(model)
    with pytest.raises(CheckpointError, match="1 in x: .* found shapes that fit 1x3 or 3x1"):
        merged_state(Large(telling=True), stripped(model.state_dict()), {"power": 1.0, "scale": "capped"}, where="x")
