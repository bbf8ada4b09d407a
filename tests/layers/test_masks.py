"""Masks that a user gives: the same in both spaces, kept where entries are zero and trained where they are not."""

import copy
import re

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

import refconv
from networks import randomise
from refconv.errors import CheckpointError, LayerError, SettingError
from refconv.layers import read_masks
from refconv.layers.masks import LEAST
from refconv.surgery import file_bytes, reparametrize


def network(dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten()).to(dtype)
    with torch.no_grad():
        model[2].weight[:, :, 1, 1] = 0  # inside the mask below, and zero
    return model


def masks():
    drawn = torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.4
    drawn[:, :, 1, 1] = True
    return {"2": drawn}


def train(model, optimizer, steps=3):
    for step in range(steps):
        x = torch.randn(2, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def in_kernel_space(model):
    refconv.refocus(model, mask=masks())
    train(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5, momentum=0.9))
    refconv.merge(model)


def in_gradient_space(model):
    train(model, refconv.RefocusSGD(refconv.param_groups(model, mask=masks()), lr=0.5, momentum=0.9))


def by_zeros(model):
    """The neighbour without the mask's own zeros: entries inside that are zero stay at zero."""
    with torch.no_grad():
        model[2].weight.mul_(masks()["2"])
    refconv.refocus(model, zeros="keep")
    train(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5, momentum=0.9))
    refconv.merge(model)


def test_a_mask_is_kept_in_both_spaces_alike_and_what_is_inside_is_trained():
    kernels = []
    for way in (in_kernel_space, in_gradient_space, by_zeros):
        model = network()
        way(model)
        kernels.append([model[0].weight.detach(), model[2].weight.detach()])
    (first, second, neighbour), mask = kernels, masks()["2"]
    # Three steps in float64 on kernels of about one.
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)
    for dense, sparse in (first, second):
        assert torch.equal(sparse != 0, mask)
        assert bool((dense != 0).all())
        assert float((sparse - network()[2].weight.detach() * mask).abs().amax()) > 1e-3
    assert not torch.allclose(first[1], neighbour[1], rtol=1e-3)


def test_a_mask_does_what_prunes_own_mask_does():
    model, pruned = network(), network()
    with torch.no_grad():
        pruned[2].weight[:, :, 1, 1] = LEAST
        pruned[2].weight.mul_(masks()["2"])
    prune.custom_from_mask(pruned[2], "weight", masks()["2"])
    for one, how in ((model, {"mask": masks()}), (pruned, {})):
        refconv.refocus(one, **how)
        train(one, torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.5))
        refconv.merge(one)
    torch.testing.assert_close(model[2].weight, pruned[2].weight_orig * masks()["2"], rtol=1e-12, atol=1e-14)


def steps_after(load, way):
    """Train in a space with weights that are loaded after the mask was given."""
    model = network()
    if way is in_kernel_space:
        refconv.refocus(model, mask=masks())
        load(model)
        assert torch.equal(model[2].weight != 0, masks()["2"])
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    else:
        optimizer = refconv.RefocusSGD(refconv.param_groups(model, mask=masks()), lr=0.5)
        load(model)
        assert torch.equal(optimizer.base("2") != 0, masks()["2"])
    train(model, optimizer)
    if way is in_kernel_space:
        refconv.merge(model)
    return model[2].weight.detach()


@pytest.mark.parametrize("way", [in_kernel_space, in_gradient_space])
def test_a_mask_stays_when_weights_are_loaded_after_it_was_given(way):
    loaded = steps_after(lambda model: model.load_state_dict(dense()), way)
    assert torch.equal(loaded != 0, masks()["2"])
    changed = network()
    changed.load_state_dict(dense())
    if way is in_kernel_space:  # where the load itself masks, all is as if the weights had been there first
        refconv.refocus(changed, mask=masks())
        train(changed, torch.optim.SGD([p for p in changed.parameters() if p.requires_grad], lr=0.5))
        refconv.merge(changed)
        assert torch.equal(loaded, changed[2].weight)


def dense():
    state = network().state_dict()
    return {name: value + 0.5 for name, value in state.items()}


@pytest.mark.parametrize("space", ["kernel", "gradient"])
def test_zeros_inside_a_mask_are_trained_after_a_cast_to_float16(space):
    model = network(torch.float32)
    if space == "kernel":
        refconv.refocus(model, mask=masks())
    else:
        refconv.param_groups(model, mask=masks())
    model.half()
    assert torch.equal(model[2].weight != 0, masks()["2"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_of_what_is_zero_already_leaves_the_function_as_it_was(dtype):
    model = network(dtype)
    with torch.no_grad():
        model[2].weight.mul_(masks()["2"])
    before = copy.deepcopy(model)
    refconv.refocus(model, mask={"2.weight": masks()["2"]})
    torch.testing.assert_close(model[2].weight.as_subclass(torch.Tensor), before[2].weight, rtol=0, atol=1e-7)
    assert torch.equal(model[2].weight != 0, masks()["2"])


def test_a_mask_is_part_of_files_and_other_methods(tmp_path):
    model = network()
    reparametrize(model, "low_rank", rank=1, mask=masks())
    train(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5))
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    base = copy.deepcopy(model)
    refconv.unrefocus(base)
    refconv.load_adapter(base, tmp_path / "a.safetensors")
    assert torch.equal(base[2].weight.as_subclass(torch.Tensor), model[2].weight.as_subclass(torch.Tensor))
    refconv.merge(base)
    assert torch.equal(base[2].weight != 0, masks()["2"])


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
def test_an_adapter_with_a_mask_loads_onto_the_pretrained_model_and_may_be_saved_again(tmp_path, dtype):
    pretrained = network(dtype)
    model = copy.deepcopy(pretrained)
    refconv.refocus(model, mask=masks())
    randomise(model)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    assert torch.equal(pretrained[2].weight.as_subclass(torch.Tensor), model[2].weight.as_subclass(torch.Tensor))
    refconv.save_adapter(pretrained, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    pretrained.load_state_dict(network(dtype).state_dict())
    assert torch.equal(pretrained[2].weight != 0, masks()["2"])


def test_an_adapter_with_a_mask_refuses_other_kernels_and_changes_nothing(tmp_path):
    model, other = network(), network()
    refconv.refocus(model, mask=masks())
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    with torch.no_grad():
        other[2].weight += masks()["2"] * 0.5
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(CheckpointError, match="the base differs at 1 of 2 layers: 2; expected the pretrained"):
        refconv.load_adapter(other, tmp_path / "a.safetensors")
    right = network()
    tensors = safetensors.torch.load_file(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        said = file.metadata()
    (tmp_path / "a.safetensors").write_bytes(file_bytes({**tensors, "more": torch.zeros(1)}, said))
    with pytest.raises(CheckpointError, match="1 surplus: more"):
        refconv.load_adapter(right, tmp_path / "a.safetensors")
    torch.testing.assert_close(other.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(right.state_dict(), network().state_dict(), rtol=0, atol=0)


def test_copies_of_an_optimizer_made_before_the_first_step_keep_the_mask():
    model = network()
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, mask=masks()), lr=0.5)
    model.load_state_dict(dense())
    model, optimizer = copy.deepcopy((model, optimizer))
    train(model, optimizer)
    assert torch.equal(model[2].weight != 0, masks()["2"])


WRONG = {
    "name": (
        {"3": torch.ones(8, 1, 3, 3, dtype=torch.bool)},
        SettingError,
        "mask: no such layer: '3'; expected one of",
    ),
    "type": ({"2": torch.ones(8, 1, 3, 3)}, SettingError, "mask of 2: not a mask; .* found torch.float32; mask != 0"),
    "shape": (
        {"2": torch.ones(8, 3, 3, dtype=torch.bool)},
        SettingError,
        re.escape("expected [8, 1, 3, 3], found [8, 3, 3]"),
    ),
    "nothing": ({"2": torch.zeros(8, 1, 3, 3, dtype=torch.bool)}, LayerError, "2: the mask leaves nothing"),
}


@pytest.mark.parametrize(("mask", "error", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("function", [refconv.refocus, refconv.param_groups])
def test_wrong_masks_are_refused_and_change_nothing(function, mask, error, message):
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        function(model, mask={**masks(), **mask} if "3" in mask else mask)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("function", [refconv.refocus, refconv.param_groups])
def test_masks_come_by_names_and_may_be_of_numpy(function):
    model, mask = network(), masks()["2"]
    for wrong in ([mask], mask, mask.numpy()):
        with pytest.raises(SettingError, match=f"mask: not masks; expected .* found {type(wrong).__name__}$"):
            function(model, mask=wrong)
    with pytest.raises(SettingError, match="mask of 2: not a mask; expected a boolean tensor, found ndarray"):
        function(model, mask={"2": mask.numpy().astype("uint8")})
    function(model, mask={"2": mask.numpy()})
    assert torch.equal(model[2].weight != 0, mask)


def test_a_mask_is_taken_back_if_refocusing_fails(monkeypatch):
    model = network()
    before = copy.deepcopy(model.state_dict())
    monkeypatch.setattr("refconv.surgery.refocusing.transform_at", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        refconv.refocus(model, mask=masks())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_files_of_masks(tmp_path):
    safetensors.torch.save_file(masks(), tmp_path / "masks.safetensors")
    assert torch.equal(read_masks(tmp_path / "masks.safetensors")["2"], masks()["2"])
    (tmp_path / "other.pth").write_text("no masks")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "masks.safetensors").read_bytes()[:-1])
    damaged = "damaged, not whole, or not a file of masks"
    for name, what in (("other.pth", damaged), ("cut.safetensors", damaged), ("mask.safetensors", "no such file")):
        with pytest.raises(CheckpointError, match=f"{name}: {what}; expected a safetensors file of boolean") as caught:
            read_masks(tmp_path / name)
        assert "deserializing" not in str(caught.value)
    assert "did you mean masks.safetensors" in str(caught.value)
