"""What the settings of refocusing cost: CPU time of a training step over that of plain training.

    OMP_NUM_THREADS=1 python benchmarks/relations.py [--repetitions 12]

A ResNet-20 at 32 px, batch 64; MobileNetV2 at 128 px, batch 16; and the worst case, large dense kernels with few small
images, a ResNet-18 at 64 px, batch 4. All are trained by SGD with momentum. Within a repetition every setting takes one
step, in an order that turns, so that ratios are paired. Writes ``benchmarks/relations.json`` and the table in
docs/settings.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import refconv
from four_methods import LEARNING_RATE, MOMENTUM, PLAIN, Contender, parameter_groups, plain
from pages import ROOT, replace_part, table
from timed_networks import RESNET20, create

RECORD = Path(__file__).with_suffix(".json")
WARM_UP = 2
NETWORKS = ((RESNET20, 32, 64), ("mobilenetv2_100", 128, 16), ("resnet18", 64, 4))  # name, side of the images, batch
GRADIENT: tuple[dict[str, Any], ...] = (
    {},
    {"damping": 0.5},
    {"power": 0.5},
    {"power": -1.0, "damping": 0.1},
    {"order": "layer"},
    {"order": "filters"},
    {"order": "filters", "damping": 0.5},
    {"order": "filters", "power": -1.0, "damping": 0.1},
)
KERNEL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("refocus", {}),
    ("refocus", {"damping": 0.5}),
    ("refocus", {"order": "filters"}),
    ("lr_scaled", {"level": "block"}),
    ("lr_scaled", {"level": "network"}),
)


def settings_of(settings: dict[str, Any]) -> str:
    """Return settings as people write them."""
    return ", ".join(f"`{name}={value}`" for name, value in settings.items()) or "the defaults"


def contenders(network: nn.Module) -> dict[str, Contender]:
    """Return a copy of the network for plain training and for every setting."""
    found = {PLAIN: Contender.of(PLAIN, network)}
    for settings in GRADIENT:
        own = copy.deepcopy(network).train()
        groups = refconv.param_groups(own, groups=parameter_groups(own), **settings)
        optimizer = refconv.RefocusSGD(groups, LEARNING_RATE, MOMENTUM)
        found[f"gradient space | {settings_of(settings)}"] = Contender(own, optimizer)
    for method, settings in KERNEL:
        own = copy.deepcopy(network).train()
        refconv.reparametrize(own, method, **settings)
        named = "kernel space" if method == "refocus" else f"`{method}`"
        found[f"{named} | {settings_of(settings)}"] = Contender(own, plain(own, fused=True))
    return found


def seconds(contender: Contender, images: Tensor, labels: Tensor) -> float:
    """Return the CPU time of a step."""
    start = time.process_time()
    contender.step(images, labels)
    return time.process_time() - start


def measure(name: str, side: int, batch: int, repetitions: int) -> dict[str, float]:
    """Return the medians of paired ratios to plain training."""
    torch.manual_seed(0)
    network: Any = create(name)
    images, labels = torch.randn(batch, 3, side, side), torch.randint(network.num_classes, (batch,))
    ready = contenders(network)
    times: dict[str, list[float]] = {method: [] for method in ready}
    names = list(ready)
    for turn in range(WARM_UP + repetitions):
        for place in range(len(names)):
            method = names[(place + turn) % len(names)]
            times[method].append(seconds(ready[method], images, labels))
    own = {method: values[WARM_UP:] for method, values in times.items()}
    return {
        method: round(statistics.median(one / two for one, two in zip(values, own[PLAIN], strict=True)), 3)
        for method, values in own.items()
        if method != PLAIN
    }


def page(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    titles = [f"{row['network']}, {row['side']} px, batch {row['batch']}" for row in record["rows"]]
    methods = list(record["rows"][0]["ratios"])
    lines = [(*method.split(" | "), *(f"{row['ratios'][method]:.2f}" for row in record["rows"])) for method in methods]
    said = (
        f"CPU time of a whole training step over that of plain training; torch {record['torch']}, {record['machine']}"
    )
    return f"{table(('trained in', 'settings', *titles), lines)}\n\n{said}, medians of {record['repetitions']} pairs."


def main() -> None:
    """Measure, record, and put the table into docs/settings.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=12)
    repetitions = parser.parse_args().repetitions
    threads = torch.get_num_threads()
    record = {
        "torch": torch.__version__.partition("+")[0],
        "machine": f"{platform.machine()}, {threads} thread{'' if threads == 1 else 's'}",
        "repetitions": repetitions,
        "rows": [
            {"network": name, "side": side, "batch": batch, "ratios": measure(name, side, batch, repetitions)}
            for name, side, batch in NETWORKS
        ],
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    replace_part(ROOT / "docs" / "settings.md", "costs", page(record))


if __name__ == "__main__":
    main()
