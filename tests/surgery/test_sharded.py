"""A refocused model sharded by FSDP2: what it computes, and states loaded into it. One process shares with nobody."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import refconv
from refconv.errors import LayerError
from refconv.gradspace.groups import SITES


@pytest.fixture
def mesh():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def refocused(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3, groups=8)).double()
    refconv.refocus(model)
    for name, parameter in model.named_parameters():
        if "refocus_weight" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


def test_state_of_another_base_is_loaded_into_a_sharded_model(mesh):
    """As accelerate does when it resumes: all that follows from the base, which is sharded, is computed anew."""
    source, model = refocused(0), refocused(1)
    fully_shard(model, mesh=mesh)
    whole, sharded = copy.deepcopy(source.state_dict()), model.state_dict()
    for name, value in sharded.items():
        value.to_local().copy_(whole[name])
    model.load_state_dict(sharded)
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(model(images), source(images))


@pytest.mark.parametrize("masked_before", [True, False])
def test_a_mask_and_weights_that_are_loaded_into_a_sharded_model(mesh, masked_before):
    mask = {"2": torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(2)) > 0.5}
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3, groups=8)).double()
    refconv.refocus(model, mask=mask)
    fully_shard(model, mesh=mesh)
    state = model.state_dict()
    base = state["2.parametrizations.weight.original"].to_local()
    base.copy_((base + 1) * (mask["2"] if masked_before else 1))
    if masked_before:
        model.load_state_dict(state)
        model(torch.randn(2, 3, 9, 9, dtype=torch.float64))
    else:
        with pytest.raises(LayerError, match="2: the weights that were loaded are not zero outside of the mask; load"):
            model.load_state_dict(state)


def test_a_mask_holds_in_gradient_space_for_a_model_that_is_sharded_later(mesh):
    mask = {"2": torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(2)) > 0.5}
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3, groups=8)).double()
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, mask=mask), lr=0.1)
    with torch.no_grad():
        model[2].weight.add_(1.0)
    fully_shard(model, mesh=mesh)
    sharded = {parameter.shape: parameter for parameter in (model[0].weight, model[2].weight)}
    for group in optimizer.param_groups:  # as accelerate exchanges them
        group["params"] = [sharded.get(parameter.shape, parameter) for parameter in group["params"] if SITES in group]
    model(torch.randn(2, 3, 9, 9, dtype=torch.float64)).square().mean().backward()
    optimizer.step()
    assert torch.equal(model[2].weight.full_tensor() != 0, mask["2"])
