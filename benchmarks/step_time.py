"""Time of a whole training step: plain fine-tuning, refocusing as released, in kernel space and in gradient space.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py [--batch-size 4] [--fused] [--models resnet18] [--fresh]
    python benchmarks/step_time.py --device cuda --batch-size 128 --img-size 224 --amp bfloat16 --channels-last

A step is zero_grad, forward, loss, backward and optimizer.step. Within a repetition every method takes one step, in
an order that turns from repetition to repetition, so that ratios are paired. What was measured while other processes
kept more than 0.3 cores busy is not recorded. Weights are random (time does not depend on them) and the data is one
batch of noise.

``--fused`` takes torch's fused SGD for all methods, and ``THP_MEM_ALLOC_ENABLE=1`` in the environment lets torch ask
for huge pages on a CPU. Both matter most to methods with many refocus weights, which are updated and allocated anew in
every step.

Every finished model adds a line to ``benchmarks/step_time.jsonl``; what is there under the same setting is not
measured again without ``--fresh``. ``python benchmarks/performance.py`` makes the page of it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from clock import WARM_UP, bandwidth
from four_methods import GRADIENT, METHODS, WAYS, Contender
from lines import Beside, Lines, check_quiet, conditions
from timed_networks import RESNET20, create

RECORD = Path(__file__).with_suffix(".jsonl")
MODELS = (
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "efficientnet_b0",
    "regnety_008",
    "resnet18",
    "resnet50",
    "convnext_tiny",
    "inception_next_tiny",
    RESNET20,
)
IMG_SIZE = 128  #: Pixels a side, where nothing else is said

Clock = Callable[[Contender, Tensor, Tensor], tuple[float, float]]


def timed(contender: Contender, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Take a step and return its seconds and its loss."""
    on_gpu = images.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    loss = contender.step(images, labels)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start, loss.item()


def prepared(
    model: str, methods: Sequence[str], setting: dict[str, Any]
) -> tuple[dict[str, Contender], Tensor, Tensor]:
    """Return all methods on one model, and a batch of noise with labels; see :func:`measure`."""
    torch.manual_seed(0)
    device = torch.device(setting["device"])
    layout = torch.channels_last if setting["channels_last"] else torch.contiguous_format
    network = create(model).to(device).to(memory_format=layout)
    size, classes = setting["img_size"], cast("Any", network).num_classes
    images = torch.randn(setting["batch_size"], 3, size, size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(classes, (setting["batch_size"],), device=device)
    autocast = None if setting["amp"] == "none" else getattr(torch, setting["amp"])
    contenders = {
        method: Contender.of(method, network, autocast=autocast, compiled=setting["compile"], fused=setting["fused"])
        for method in methods
    }
    return contenders, images, labels


def in_turn(
    contenders: dict[str, Contender], images: Tensor, labels: Tensor, repetitions: int, clock: Clock = timed
) -> dict[str, Any]:
    """Return seconds of every measured step, and losses of all, of methods that take turns."""
    methods = list(contenders)
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    losses: dict[str, list[float]] = {method: [] for method in methods}
    for repetition in range(WARM_UP + repetitions):
        first = repetition % len(methods)
        for method in [*methods[first:], *methods[:first]]:
            elapsed, loss = clock(contenders[method], images, labels)
            seconds[method].append(elapsed)
            losses[method].append(loss)
    kept = {method: [round(value, 6) for value in values[WARM_UP:]] for method, values in seconds.items()}
    return {"seconds": kept, "losses": losses}


def measure(model: str, methods: Sequence[str], setting: dict[str, Any], repetitions: int) -> dict[str, Any]:
    """Time the steps of all methods on one model, in turn.

    Args:
        model: timm's name of it.
        methods: names of :data:`METHODS`.
        setting: device, batch_size, img_size, amp, channels_last, compile, fused, huge_pages.
        repetitions: measured steps of each method, after the warm-up.

    Returns:
        The record: seconds of every measured step, and the losses of all steps, by method; the bytes of all refocused
        kernels, and the bandwidth of memory for as many; how many cores other work kept busy meanwhile.
    """
    device = torch.device(setting["device"])
    beside = Beside()
    contenders, images, labels = prepared(model, methods, setting)
    found = in_turn(contenders, images, labels, repetitions)
    about: dict[str, Any] = {"conditions": {**conditions(device), "beside": beside.cores()}}
    if GRADIENT in contenders:
        optimizer: Any = contenders[GRADIENT].optimizer
        about["refocused"] = sum(one.numel() * one.element_size() for one in optimizer._metrics)
        about["bandwidth"] = bandwidth(device, about["refocused"], repetitions)
    return {"model": model, "setting": setting, **found, **about}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--img-size", type=int, default=IMG_SIZE, help="of all models but resnet20, which takes 32 px")
    parser.add_argument("--amp", default="none", choices=("none", "bfloat16"), help="dtype of autocast")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile the models")
    parser.add_argument("--fused", action="store_true", help="torch's fused SGD, for all methods")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS), choices=tuple(WAYS))
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--fresh", action="store_true", help="measure again what the record has")
    parser.add_argument("--loaded", action="store_true", help="record although other work runs beside")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure what the record has not."""
    chosen = arguments(given)
    names = ("device", "batch_size", "img_size", "amp", "channels_last", "compile", "fused")
    setting = {name: getattr(chosen, name) for name in names}
    setting["huge_pages"] = os.environ.get("THP_MEM_ALLOC_ENABLE") == "1"
    record = Lines(chosen.record, "model", "setting")
    for model in chosen.models:
        own = {**setting, "img_size": 32} if model == RESNET20 else setting
        if not chosen.fresh and record.has(model=model, setting=own):
            continue
        row = measure(model, chosen.methods, own, chosen.repetitions)
        if not chosen.loaded:
            check_quiet(row["conditions"]["beside"])
        record.put(row)
        medians = {method: sorted(values)[len(values) // 2] for method, values in row["seconds"].items()}
        print(model, *(f"{method} {median:.3f} s" for method, median in medians.items()), sep="  ", flush=True)


if __name__ == "__main__":
    main()
