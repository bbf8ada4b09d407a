"""Memory of a training step: its peak, and the bytes of parameters, gradients and optimizer state.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--models resnet18] [--batch-size 16] [--fresh]
    python benchmarks/memory.py --device cuda --batch-size 128 --img-size 224

On a GPU the peak is torch's own count, ``max_memory_allocated``. On a CPU it is reckoned from torch's profiler, which
reports every allocation and release of a tensor's memory from before the model is made: the largest running sum during
the second step, the first in which momentum exists. Scratch memory that libraries take from the system themselves
is in neither.

Every finished model adds a line to ``benchmarks/memory.jsonl``; ``python benchmarks/performance.py`` makes the page.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from four_methods import WAYS, Contender
from lines import Lines, conditions
from step_time import IMG_SIZE, MODELS
from timed_networks import RESNET20, create

RECORD = Path(__file__).with_suffix(".jsonl")
MEMORY_EVENT = "[memory]"


def size(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors, those of one storage counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def state_bytes(contender: Contender) -> dict[str, int]:
    """Return the bytes of an optimizer's state by the name of its entries: momentum_buffer, base."""
    counted: Counter[str] = Counter()
    for state in contender.optimizer.state_dict()["state"].values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                where = "on disk" if value.untyped_storage().filename else name
                counted[where] += value.untyped_storage().nbytes()
    return dict(counted)


def beside_state(contender: Contender) -> int:
    """Return the bytes that an optimizer holds outside its state: Grams, which are computed again when needed."""
    metrics = getattr(contender.optimizer, "_metrics", {}).values()
    kept = [value for metric in metrics for value in vars(metric).values() if isinstance(value, Tensor)]
    known = {tensor.untyped_storage().data_ptr() for tensor in contender.model.parameters()}
    known |= {
        value.untyped_storage().data_ptr()
        for state in contender.optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    }
    return size(tensor for tensor in kept if tensor.untyped_storage().data_ptr() not in known)


def peak_on_cpu(found: profile, since: int) -> int:
    """Return the most bytes that tensors held at once after a moment.

    Args:
        found: a profile with memory, which began before the first of the tensors was made.
        since: the moment, in nanoseconds since 1970.
    """
    results = found.profiler.kineto_results if found.profiler is not None else None
    assert results is not None
    events: list[Any] = [
        event for event in results.events() if event.name() == MEMORY_EVENT
    ]  # torch's stub lacks nbytes

    running = most = 0
    for moment, change in sorted((event.start_ns(), event.nbytes()) for event in events):
        running += change
        if moment >= since:
            most = max(most, running)
    return most


def prepared(method: str, model: str, setting: dict[str, Any]) -> tuple[Contender, Tensor, Tensor]:
    """Return a method on a model that has taken its first step, with images and labels for another."""
    torch.manual_seed(0)
    device = torch.device(setting["device"])
    network = create(model).to(device)
    images = torch.randn(setting["batch_size"], 3, setting["img_size"], setting["img_size"], device=device)
    labels = torch.randint(cast("Any", network).num_classes, (setting["batch_size"],), device=device)
    contender = Contender.of(method, network)
    contender.step(images, labels)
    return contender, images, labels


def peak_of_second_step(method: str, model: str, setting: dict[str, Any]) -> tuple[int, Contender]:
    """Return the peak of one method on one model, alone in memory, and what took the steps."""
    if setting["device"] != "cpu":
        contender, images, labels = prepared(method, model, setting)
        torch.cuda.reset_peak_memory_stats()
        contender.step(images, labels)
        return torch.cuda.max_memory_allocated(), contender
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        contender, images, labels = prepared(method, model, setting)
        since = time.time_ns()
        contender.step(images, labels)
    return peak_on_cpu(found, since), contender


def measure(method: str, model: str, setting: dict[str, Any]) -> dict[str, int]:
    """Return the bytes of one method on one model."""
    gc.collect()  # what an earlier measurement left must not be released within this one
    peak, contender = peak_of_second_step(method, model, setting)
    trained = [parameter for parameter in contender.model.parameters() if parameter.requires_grad]
    state = state_bytes(contender)
    return {
        "peak": peak - state.get("on disk", 0),  # torch counts mapped files, which the system can drop, as memory
        "trained": size(trained),
        "model": size([*contender.model.parameters(), *contender.model.buffers()]),
        "gradients": size(parameter.grad for parameter in trained if parameter.grad is not None),
        **{f"state: {name}": count for name, count in state.items()},
        "beside the state": beside_state(contender),
    }


def main(given: Sequence[str] | None = None) -> None:
    """Measure what the record has not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--img-size", type=int, default=IMG_SIZE, help="of all models but resnet20, which takes 32 px")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--fresh", action="store_true", help="measure again what the record has")
    chosen = parser.parse_args(given)
    setting = {name: getattr(chosen, name) for name in ("device", "batch_size", "img_size")}
    record = Lines(chosen.record, "model", "setting")
    for model in chosen.models:
        own = {**setting, "img_size": 32} if model == RESNET20 else setting
        if chosen.fresh or not record.has(model=model, setting=own):
            found = {method: measure(method, model, own) for method in WAYS}
            row = {"model": model, "setting": own, "bytes": found, "conditions": conditions(torch.device("cpu"))}
            record.put(row)
            print(
                model, *(f"{method} {b['peak'] / 2**20:.0f} MiB" for method, b in found.items()), sep="  ", flush=True
            )


if __name__ == "__main__":
    main()
