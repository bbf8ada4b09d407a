"""Gradient space in two or three processes, started by tests/gradspace/test_processes.py: prints what agreed."""

import copy
import sys

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

import refconv
from leaving_together import leave_together
from networks import EveryKind
from refconv.errors import LayerError, SettingError

KERNELS = {"stem.weight", "depthwise.weight", "grouped.weight", "up.weight"}
SETTINGS = {"weight_decay": 0.05, "scale": "normalized"}


def network(seed=0):
    torch.manual_seed(seed)
    return EveryKind().double().eval()  # batch norm of a whole batch is not that of its halves


def images(part):
    torch.manual_seed(7)
    return torch.randn(6, 3, 20, 20, dtype=torch.float64)[part]


def optimizer_of(model, **more):
    groups = refconv.param_groups(model, **{**SETTINGS, **more})
    return refconv.RefocusSGD(groups, lr=0.05, momentum=0.9, nesterov=True)


def train(model, optimizer, steps, part):
    norms = []
    for _ in range(steps):
        optimizer.zero_grad()
        (model(images(part)) - 0.3).square().mean().backward()
        norms.append(optimizer.clip_grad_norm_(0.2))
        optimizer.step()
    return torch.stack(norms)


def weights(model):
    return {name: getattr(p, "full_tensor", lambda p=p: p)().detach().clone() for name, p in model.named_parameters()}


def same(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-13, msg=lambda text, n=name: f"{n}: {text}")


def sharded(seed=0, **more):
    model = network(seed)
    for child in (model.depthwise, model.grouped):
        fully_shard(child, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    fully_shard(model, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    return model, optimizer_of(model, **more)


def check_ddp(part):
    alone = network()
    norms = train(alone, optimizer_of(alone), 5, slice(None))
    model = DistributedDataParallel(network(), gradient_as_bucket_view=True)
    torch.testing.assert_close(train(model, optimizer_of(model), 5, part), norms, rtol=1e-10, atol=0)
    same(weights(model.module), weights(alone))


def check_fsdp(part, **more):
    alone = network()
    norms = train(alone, optimizer_of(alone, **more), 5, slice(None))
    model, optimizer = sharded(**more)
    torch.testing.assert_close(train(model, optimizer, 5, part), norms, rtol=1e-10, atol=0)
    same(weights(model), weights(alone))
    assert all(type(p).__name__ == "DTensor" for p in model.parameters())


def check_fsdp_filters(part):
    check_fsdp(part, order="filters", power=0.5, damping=0.1, exclude="up")
    model, optimizer = sharded(order="filters")
    with pytest.raises(LayerError, match="up: its filters are cut by sharding"):
        train(model, optimizer, 1, part)


def check_fsdp_resumes(part):
    model, optimizer = sharded()
    train(model, optimizer, 3, part)
    state = copy.deepcopy(get_optimizer_state_dict(model, optimizer))  # it shares memory with the optimizer
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, optimizer, 2, part)
    resumed, again = sharded(seed=3)
    template = get_optimizer_state_dict(resumed, again)
    entries = {name: set(values) for name, values in state["state"].items()}
    assert {name: set(values) for name, values in template["state"].items()} == entries
    resumed.load_state_dict(kept)
    set_optimizer_state_dict(resumed, again, state)
    train(resumed, again, 2, part)
    for name, value in weights(model).items():
        assert torch.equal(weights(resumed)[name], value), name


def check_refocus_weight(part):
    alone = network()
    reference = optimizer_of(alone)
    train(alone, reference, 3, slice(None))
    model, optimizer = sharded()
    train(model, optimizer, 3, part)
    for layer in ("depthwise", "grouped", "stem", "up"):
        expected = reference.refocus_weight(layer)
        torch.testing.assert_close(optimizer.refocus_weight(layer), expected, rtol=1e-6, atol=1e-8)


def check_random_start(rank):
    for make in (lambda: network(), lambda: sharded()[0]):
        model = make()
        before = weights(model)
        torch.manual_seed(rank)
        optimizer_of(model, start="kaiming")
        for name, value in weights(model).items():
            first = value.clone()
            torch.distributed.broadcast(first, 0)
            assert torch.equal(value, first), name
            assert torch.equal(value, before[name]) != (name in KERNELS), name


def check_split(part):
    """ZeroRedundancyOptimizer gives each process a part of the parameters, in an order of its own."""
    alone = network()
    optimizer = optimizer_of(alone)
    model = DistributedDataParallel(network())
    groups = refconv.param_groups(model, **SETTINGS)
    split = ZeroRedundancyOptimizer(groups, refconv.RefocusSGD, lr=0.05, momentum=0.9, nesterov=True)
    for which, steps, images_of in ((alone, optimizer, slice(None)), (model, split, part)):
        for _ in range(3):
            steps.zero_grad()
            (which(images(images_of)) - 0.3).square().mean().backward()
            steps.step()
    same(weights(model.module), weights(alone))
    split.consolidate_state_dict()
    if torch.distributed.get_rank() == 0:  # in the form of the optimizer that is not split
        optimizer.load_state_dict(split.state_dict())
    for settings, more in (({"start": "kaiming"}, {}), ({}, {"max_norm": 1.0})):
        groups = refconv.param_groups(model, **settings)
        with pytest.raises(SettingError, match="a part of the kernels only"):
            ZeroRedundancyOptimizer(groups, refconv.RefocusSGD, lr=0.05, **more)
    with pytest.raises(SettingError, match="which this optimizer does not know"):
        ZeroRedundancyOptimizer(refconv.param_groups(model), torch.optim.Adam, lr=0.05)


def check_replaced(part):
    """FSDP2 under accelerate shards after the optimizer was made, and puts its parameters into the groups."""
    alone = network()
    train(alone, optimizer_of(alone), 3, slice(None))
    model = network()
    optimizer = optimizer_of(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    fully_shard(model, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    now = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [now[names[parameter]] for parameter in group["params"]]
    train(model, optimizer, 3, part)
    same(weights(model), weights(alone))


def main():
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    rank = torch.distributed.get_rank()
    share = 6 // torch.distributed.get_world_size()
    part = slice(share * rank, share * rank + share)
    checks = {
        "ddp": lambda: check_ddp(part),
        "fsdp": lambda: check_fsdp(part),
        "fsdp across, power": lambda: check_fsdp(part, order="across", power=0.5),
        "fsdp layer": lambda: check_fsdp(part, order="layer"),
        "fsdp filters": lambda: check_fsdp_filters(part),
        "fsdp damped": lambda: check_fsdp(part, damping=0.3),
        "fsdp resumes": lambda: check_fsdp_resumes(part),
        "refocus weight": lambda: check_refocus_weight(part),
        "random start": lambda: check_random_start(rank),
        "split": lambda: check_split(part),
        "replaced": lambda: check_replaced(part),
    }
    for name, check in checks.items():
        check()
        if rank == 0:
            sys.stdout.write(f"{name}: agrees\n")
    leave_together()


if __name__ == "__main__":
    main()
