"""A refocused model sharded by FSDP2: what it computes, and states loaded into it. One process shares with nobody."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import refconv


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
