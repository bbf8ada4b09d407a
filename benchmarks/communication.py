"""Bytes that a training step all-reduces under DDP, per method, counted by a communication hook.

    OMP_NUM_THREADS=1 python benchmarks/communication.py [--models resnet18] [--fresh]

Two processes on the CPU (gloo) wrap each method's model by DistributedDataParallel and take one step; a hook adds up
the bytes of the gradient buckets that it is handed and then all-reduces them as DDP would. The count is the same on
any number of processes and any hardware. It is checked against the number of trained parameters, four bytes each.

Every finished model adds a line to ``benchmarks/communication.jsonl``; ``python benchmarks/performance.py`` makes the
page.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from four_methods import METHODS, PLAIN, Contender
from lines import Lines, conditions
from step_time import MODELS
from timed_networks import create

RECORD = Path(__file__).with_suffix(".jsonl")
PROCESSES = 2
BATCH_SIZE, IMG_SIZE = 2, 64  # the bytes do not depend on them


def reduced_bytes(contender: Contender, images: Tensor, labels: Tensor) -> int:
    """Take one step under DDP and return the bytes of the gradients that were all-reduced."""
    count = 0

    # DDP reads these annotations as they are, so this file does without postponing them
    def counting(group: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        nonlocal count
        count += bucket.buffer().nbytes
        return allreduce_hook(group, bucket)

    model = DistributedDataParallel(contender.model)
    model.register_comm_hook(None, counting)
    contender.optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(images), labels).backward()
    contender.optimizer.step()
    return count


def work(rank: int, models: Sequence[str], meeting: str, record: Path, fresh: bool) -> None:
    """Count for all models; the work of one process."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES)
    lines = Lines(record, "model")
    missing = [model for model in models if fresh or not lines.has(model=model)]
    dist.barrier()  # no process reads the record after another has begun to write it
    for model in missing:
        torch.manual_seed(0)
        network = create(model)
        images = torch.randn(BATCH_SIZE, 3, IMG_SIZE, IMG_SIZE)
        labels = torch.randint(cast("Any", network).num_classes, (BATCH_SIZE,))
        counted, trained = {}, {}
        for method in METHODS:
            contender = Contender.of(method, network)
            trained[method] = sum(p.numel() for p in contender.model.parameters() if p.requires_grad)
            counted[method] = reduced_bytes(contender, images, labels)
            assert counted[method] == 4 * trained[method], (model, method, counted, trained)
        if rank == 0:
            lines.put(
                {
                    "model": model,
                    "bytes": counted,
                    "trained": trained,
                    "shipped": trained[PLAIN],
                    "conditions": conditions(torch.device("cpu")),
                }
            )
            print(
                model, *(f"{method} {1e-6 * found:.1f} MB" for method, found in counted.items()), sep="  ", flush=True
            )
    dist.destroy_process_group()


def main(given: Sequence[str] | None = None) -> None:
    """Count what the record has not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--fresh", action="store_true", help="count again what the record has")
    chosen = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        spawn(work, (list(chosen.models), meeting, chosen.record, chosen.fresh), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
