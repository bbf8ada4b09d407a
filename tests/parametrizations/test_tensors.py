"""The base cannot be trained and writes to it are followed; the computed kernel cannot be written to."""

import copy
import io

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, randomise
from refconv.errors import LayerError, ModelError
from refconv.parametrizations import Base
from refconv.surgery import plain_state_dict


def bases(model):
    return {key: value.clone() for key, value in model.state_dict().items() if key.endswith(".original")}


def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 20, 20, dtype=torch.float64)


def network():
    torch.manual_seed(0)
    return EveryKind().double().eval()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_unfreezing_everything_does_not_train_the_base(optimizer):
    ways = [
        lambda model: None,
        lambda model: model.requires_grad_(True),
        lambda model: [setattr(parameter, "requires_grad", True) for parameter in model.parameters()],
    ]
    found = []
    for unfreeze in ways:
        model = network()
        refconv.refocus(model)
        before = bases(model)
        unfreeze(model)
        trained = optimizer(model.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            trained.zero_grad(set_to_none=False)
            model(images()).square().mean().backward()
            trained.step()
        assert all(torch.equal(value, before[key]) for key, value in bases(model).items())
        found.append(plain_state_dict(model))
    for state in found[1:]:
        assert all(torch.equal(value, found[0][key]) for key, value in state.items())


def write_in_place(base):
    with torch.no_grad():
        base.mul_(0.5)


def write_data(base):
    base.data.mul_(0.5)


def write_from_a_state_dict(base):
    base.detach().mul_(0.5)


@pytest.mark.parametrize("write", [write_in_place, write_data, write_from_a_state_dict])
def test_writing_to_a_base_makes_its_patches_anew(write):
    model = network()
    refconv.refocus(model, scale="normalized")
    randomise(model)
    copied = copy.deepcopy(model)
    for module in (model.depthwise, copied.depthwise, copied.stem, model.stem):
        write(module.parametrizations.weight.original)
    fresh = network()
    refconv.refocus(fresh, scale="normalized")
    fresh.load_state_dict(model.state_dict())  # prepares for the bases that it loads
    outputs = fresh(images())
    assert torch.equal(model(images()), outputs)
    assert torch.equal(refconv.merged(copied)(images()), outputs)


def test_merging_gives_back_the_very_parameter_with_its_flag():
    model = network()
    before = model.stem.weight
    refconv.refocus(model)
    assert type(model.stem.parametrizations.weight.original) is Base
    assert type(copy.deepcopy(model).stem.parametrizations.weight.original) is Base
    refconv.merge(model)
    assert model.stem.weight is before
    assert type(before) is nn.Parameter
    assert before.requires_grad
    assert not before.requires_grad_(False).requires_grad


WRITES = {
    "init": lambda conv: nn.init.kaiming_normal_(conv.weight),
    "reset_parameters": lambda conv: conv.reset_parameters(),
    "copy_": lambda conv: conv.weight.copy_(torch.ones(8, 3, 3, 3)),
    "mul": lambda conv: conv.weight.__imul__(0.5),
    "item": lambda conv: conv.weight.__setitem__(0, 0.0),
    "data.copy_": lambda conv: conv.weight.data.copy_(torch.ones(8, 3, 3, 3)),
    "data.clamp_": lambda conv: conv.weight.data.clamp_(-0.1, 0.1),
    "data": lambda conv: setattr(conv.weight, "data", torch.ones(8, 3, 3, 3)),
    "assignment": lambda conv: setattr(conv, "weight", nn.Parameter(torch.ones(8, 3, 3, 3))),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_to_a_computed_kernel_is_refused_where_it_happens(write):
    model = network()
    refconv.refocus(model)
    before = model(images())
    with torch.no_grad(), pytest.raises((LayerError, KeyError)) as error:
        write(model.stem)
    if error.type is LayerError:
        assert "stem: the kernel is computed from its base" in str(error.value)
    else:  # torch says so itself
        assert "weight" in str(error.value)
    assert torch.equal(model(images()), before)


class Masked(nn.Conv2d):
    def forward(self, x):
        self.weight.data *= self.mask
        return super().forward(x)


class Generated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        self.conv.weight.data = torch.ones(8, 3, 3, 3)
        return self.conv(x)


def test_networks_that_write_their_own_kernel_are_left_alone_and_refused_at_their_first_forward_if_asked_for():
    masked = Masked(3, 8, 3)
    masked.mask = torch.ones(8, 3, 3, 3)  # writes what is there already
    for model, name, how in ((nn.Sequential(masked), "0", "Masked"), (Generated(), "conv", "Generated")):
        with pytest.raises(ModelError, match=f"its kernel is written by {how}.forward: only on request .*include="):
            refconv.refocus(model)
        refconv.refocus(model, include=name)
        with pytest.raises(LayerError, match=f"writes its kernel .*exclude='{name}'"):
            model(torch.randn(1, 3, 8, 8))


def test_computed_kernels_are_read_copied_and_saved_as_ordinary_tensors():
    model = network()
    refconv.refocus(model)
    with torch.no_grad():
        kernel = model.stem.weight
    for value in (kernel.clone(), kernel.data.abs(), kernel * 2, kernel.detach(), copy.deepcopy(kernel)):
        assert type(value) is torch.Tensor
    buffer = io.BytesIO()
    torch.save(kernel, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=True), kernel)
    kernel.data.clone().mul_(2)
