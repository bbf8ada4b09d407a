"""Uneven shares, shared batch norms and accumulated parts under DDP and FSDP2, started by test_processes.py.

Prints one JSON object: how far several processes end from one, by what wraps the model, the space and the case.
"""

import json
import sys
from contextlib import nullcontext

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import refconv
from leaving_together import leave_together
from refconv.engine.synchronising import synchronise_norms
from refconv.process.distributed import Processes
from run_gradspace import network, optimizer_of, weights

IMAGES = torch.randn(11, 3, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
STEPS = 4
CASES = {  # whether batch norms train, and how many parts a step has
    "uneven shares": (False, 1),
    "accumulated": (False, 3),
    "batch norms": (True, 1),
    "batch norms, accumulated": (True, 3),
}
WRONG = {"shares of one weight": {"weighted": False}, "batch norms of each share": {"synchronised": False}}
"""What ends elsewhere: shares of 6 and 5, or of 4, 4 and 3, as if they were equal; statistics of a share."""


def ddp(model):
    return DistributedDataParallel(model, broadcast_buffers=False)


def fsdp(model):
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for module in (model.depthwise, model.grouped, model):
        fully_shard(module, mesh=mesh)
    return model


def trained(space, norms, parts, wrap=None, *, weighted=True, synchronised=True):
    """Train, in this process alone or with the others; return weights and running statistics, and those of the start.

    The loss of a part weighs its share of the images of a step, times the number of processes, which are averaged.
    """
    rank, count = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if wrap else (0, 1)
    model = network().train(norms)
    if space == "kernel":
        refconv.refocus(model, scale="normalized")
    start = state(model)
    if wrap and norms and synchronised:
        synchronise_norms(model, Processes(rank, count, torch.device("cpu")))
    wrapped = wrap(model) if wrap else model
    if space == "kernel":
        own = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(own, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.05)
    else:
        optimizer = optimizer_of(wrapped)
    shares = [part.tensor_split(count)[rank] for part in IMAGES.tensor_split(parts)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        for number, share in enumerate(shares, 1):
            with synchronised_at_last(wrapped, last=number == parts):
                weight = len(share) * count / len(IMAGES) if weighted else 1.0
                (weight * (wrapped(share) - 0.3).square().mean()).backward()
        if space == "gradient":
            optimizer.clip_grad_norm_(0.2)
        optimizer.step()
    return state(model), start


def synchronised_at_last(model, *, last):
    """Let the gradients of a step be averaged once, after its last part."""
    if isinstance(model, DistributedDataParallel):
        return nullcontext() if last else model.no_sync()
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(last)
    return nullcontext()


def state(model):
    buffers = {name: value.clone() for name, value in model.named_buffers() if name.startswith("norm.running")}
    return {**weights(model), **buffers}


def distance(one, other):
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def main():
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    found = {}
    for space in ("gradient", "kernel"):
        for name, case in CASES.items():
            alone, start = trained(space, *case)
            assert alone.keys() == start.keys()
            for wrap in (ddp, fsdp):
                several, _ = trained(space, *case, wrap)
                found[f"{wrap.__name__}, {space} space, {name}"] = distance(several, alone) / distance(alone, start)
    alone, start = trained("gradient", *CASES["batch norms"])
    for name, wrong in WRONG.items():
        several, _ = trained("gradient", *CASES["batch norms"], fsdp, **wrong)
        found[name] = distance(several, alone) / distance(alone, start)
    if torch.distributed.get_rank() == 0:
        sys.stdout.write(json.dumps(found))
    leave_together()


if __name__ == "__main__":
    main()
