"""Is `refconv improve` worth it? Eight networks, each improved and fine-tuned plainly with the same budget.

    python benchmarks/improve.py --cifar FOLDER --resnets FOLDER [--lite0 FILE] [--work FOLDER] [--only CASE ...]
    python benchmarks/improve.py --page            # the table in the README, from the record

* FOLDERs of ``--cifar`` and ``--resnets``: as outside.py says.
* FILE of ``--lite0``: lite0.pth, weights of EfficientNet-Lite0 for timm's tf_efficientnet_lite0; see own_networks.py.

The Fashion-MNIST networks are the bases of the study ``main``, trained here, and get as many epochs as ResNet-20. Each
case has one budget of epochs, spent four times: not at all (the base), by one plain run at the default rate, by a
competent plain fine-tuning (three rates for a ninth of the budget each, then the best one by validation for two thirds,
cosine schedule and moving average), and by ``refconv improve``. The CIFAR networks were trained on the originals of the
training images, so 2,000 of the test images are validated on, which they have not seen, and the other 8,000 are tested
on. Finished runs are kept, and an interrupted one is resumed. Writes ``benchmarks/improve.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outside import held_out, link_images, link_networks
from pages import ROOT, replace_part, table
from refconv.engine import Recipe, RunRecord, train
from refconv.improvement import Budget, ImproveConfig, improve_recipe
from refconv.improvement.looking import open_base
from refconv.improvement.scoring import difference, score
from refconv.models.model_folder import load_model_folder
from refconv.models.run_folder import RunFolder

RECORD = Path(__file__).with_suffix(".json")
GOAL, LIMIT, ENOUGH = 0.003, -0.001, 4
"""Of top-1: the gain over plain fine-tuning that counts, and the most that may be lost; the cases it is asked in."""


@dataclass(frozen=True)
class Case:
    """A network and the data that it is improved on.

    Attributes:
        name: of the network.
        about: the data, in words.
        epochs: the budget.
        settings: of its recipe.
        base: settings of the training of its base, where that is trained here.
    """

    name: str
    about: str
    epochs: int
    settings: dict[str, Any]
    base: dict[str, Any] | None = None


def cases(work: Path) -> list[Case]:
    """Return the cases, with data and weights in the working folder."""
    common = {"workers": 0, "device": "cpu", "hflip": 0.5, "log_interval": 10**6}
    cifar = {**common, "batch_size": 64, "pad_crop": 4, "weight_decay": 1e-4}
    resnets = [
        Case(
            f"ResNet-{depth}", f"{count:,} JPEG copies of CIFAR-10", epochs,
            {**cifar, "model": f"resnet:resnet{depth}", "checkpoint": str(work / f"resnet{depth}.th"),
             "data": f"folder:{work / f'cifar-{count}'}"},
        )
        for depth, count, epochs in ((20, 5000, 27), (56, 2000, 18))
    ]  # fmt: skip
    lite0 = Case(
        "EfficientNet-Lite0", "600 images of 10 classes, 96 px", 18,
        {**common, "batch_size": 16, "img_size": 96, "model": "tf_efficientnet_lite0", "reset_classifier": True,
         "checkpoint": str(work / "lite0.pth"), "data": f"folder:{work / 'cifar-600'}"},
    )  # fmt: skip
    fashion = {**common, "data": "fashion-mnist", "val_split": 0.1, "batch_size": 128, "pad_crop": 2, "opt": "momentum"}
    models: dict[str, tuple[str, dict[str, Any]]] = {
        "mobilenet": ("mobilenet_small", {"width": 0.5, "stem_stride": 2, "strides": [2, 1, 2, 1]}),
        "resnet": ("resnet_small", {"stem_stride": 2, "channels": [8, 16, 32]}),
        "convnext": ("convnext_small", {"stem_stride": 4, "channels": [16, 32], "depth": 1}),
        "resnext": ("resnext_small", {"stem_stride": 4, "channels": [16, 32, 64], "groups": 4}),
        "signal": ("mobilenet_1d", {"width": 0.5}),
    }
    found = [*resnets, lite0]
    for name, (builder, arguments) in models.items():
        own = {**fashion, "model": f"refconv.models.networks:{builder}", "model_kwargs": arguments}
        if name == "signal":
            own |= {"data": "mnist1d", "batch_size": 100, "pad_crop": 0, "hflip": 0.0}
        base = {"epochs": 100 if name == "signal" else 16, "lr": 0.2, "warmup_epochs": 1, "test": False}
        about = "MNIST-1D" if name == "signal" else "Fashion-MNIST"
        own["checkpoint"] = str(work / "runs" / name / "base")
        found.append(Case(name, about, 180 if name == "signal" else 27, own, base))
    return found


def prepare(work: Path, arguments: argparse.Namespace) -> None:
    """Put weights and links to images where the recipes expect them."""
    work.mkdir(parents=True, exist_ok=True)
    link_networks([arguments.resnets / "resnet.py", *arguments.resnets.glob("*.th")], work)
    if arguments.lite0:
        link_networks([arguments.lite0], work)
    for count in (5000, 2000, 600):
        link_images(arguments.cifar, work / f"cifar-{count}", held_out(count))


def run(recipe: Recipe, folder: Path) -> RunRecord:
    """Return the record of a run that is trained, resumed, or finished already."""
    return train(recipe, folder, resume=RunFolder(folder).checkpoint_file.is_file(), show=False)


def measured(case: Case, work: Path) -> dict[str, Any]:
    """Carry out one case and return what it gave."""
    folder = work / "runs" / case.name
    folder.mkdir(parents=True, exist_ok=True)
    if case.base is not None:
        settings = {**case.settings, **case.base}
        settings.pop("checkpoint")
        run(Recipe.from_mapping(settings), folder / "base")
    plain = {**case.settings, "test": False, "eval_interval": 10**6}
    unit = max(1, case.epochs // 9)
    default = run(Recipe.from_mapping({**plain, "epochs": case.epochs}), folder / "default")
    rates = {}
    for factor in (0.3, 1.0, 3.0):
        recipe = Recipe.from_mapping({**plain, "epochs": unit})
        recipe = Recipe.from_mapping({**plain, "epochs": unit, "lr": recipe.lr * factor})
        end = run(recipe, folder / f"rate-{factor:g}").val_last
        assert end is not None
        assert end.top1 is not None  # there is a validation split
        rates[recipe.lr] = end.top1
    lr = max(rates, key=lambda rate: rates[rate])
    steps = 6 * unit * default.steps // default.epochs
    averaged = {"model_ema": True, "model_ema_warmup": True, "model_ema_decay": 1 - 10 / steps}
    tuned = run(Recipe.from_mapping({**plain, **averaged, "epochs": 6 * unit, "lr": lr}), folder / "tuned")
    budget = Budget.parse(f"{9 * unit}ep")
    recipe = Recipe.from_mapping({**case.settings, "test": False})
    config = ImproveConfig(budget=budget, check=not case.settings.get("reset_classifier", False), show=False)
    improved = improve_recipe(recipe, folder / "improve", config, given=("batch_size",))
    assert improved is not None  # this was no dry run
    setup = open_base(recipe)
    places = {name: folder / name / "model" for name in ("default", "tuned", "improve")}
    scores = {name: score(load_model_folder(place), setup, "test") for name, place in places.items()}
    return {
        "case": case.name, "about": case.about, "epochs": 9 * unit, "tuned_lr": lr,
        "base": improved.tested.base.value, **{name: found.value for name, found in scores.items()},
        "against_tuned": difference(scores["tuned"], scores["improve"]).to_dict(),
        "winner": improved.winner, "refocusing": improved.refocusing and improved.refocusing.to_dict(),
        "test_samples": scores["tuned"].samples,
        "seconds": {"default": default.seconds, "tuned": tuned.seconds, "improve": improved.seconds},
        "samples": {"default": default.samples_seen, "improve": improved.samples_seen},
        "hardware": improved.hardware,
    }  # fmt: skip


def page(records: Sequence[dict[str, Any]]) -> str:
    """Return the table and its verdict as Markdown."""
    rows = []
    for one in records:
        against = one["against_tuned"]
        rows.append((
            one["case"], one["about"], f"{100 * one['base']:.2f}", f"{100 * one['default']:.2f}",
            f"{100 * one['tuned']:.2f}", f"{100 * one['improve']:.2f}",
            f"{100 * against['value']:+.2f} ({100 * against['low']:+.2f} to {100 * against['high']:+.2f})",
            f"{one['samples']['improve'] / one['samples']['default']:.2f}", f"{one['seconds']['improve'] / 60:.0f} min",
        ))  # fmt: skip
    reached = sum(one["against_tuned"]["value"] >= GOAL for one in records)
    lost = [one["case"] for one in records if one["against_tuned"]["value"] < LIMIT]
    clear = sum(one["against_tuned"]["low"] > 0 for one in records)
    header = ("network", "data", "base", "plain", "plain, tuned", "improve", "improve minus tuned", "samples", "time")
    gains = [one["improve"] - one["default"] for one in records]
    lines = [
        table(header, rows), "",
        f"Top-1 on test images in %, with the 95 % interval of the paired difference; one seed. "
        f"Samples: those that `improve` trained on, over those of plain training. In {reached} of "
        f"{len(records)} cases `improve` is at least {100 * GOAL:g} points above tuned plain training at equal total "
        f"cost, its search included (in {clear} the interval excludes zero); the goal was {ENOUGH} of 8. "
        + (f"It loses more than {-100 * LIMIT:g} points on {', '.join(lost)}." if lost else
           f"It loses more than {-100 * LIMIT:g} points on none.")
        + f" Against one plain run at the default rate, which spends nothing on tuning, it is higher in "
        f"{sum(gain > 0 for gain in gains)} cases, by {100 * sum(gains) / len(gains):+.2f} points in the mean. The "
        "search was last changed when earlier results on six of these networks were known.",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Carry out the cases, or make the page of the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--resnets", type=Path)
    parser.add_argument("--lite0", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "improve")
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    known = {one["case"]: one for one in json.loads(RECORD.read_text())} if RECORD.is_file() else {}
    if not arguments.page:
        work = arguments.work.resolve()
        prepare(work, arguments)
        os.chdir(work)
        sys.path.insert(0, str(work))
        for case in cases(work):
            if case.name in known or (arguments.only and case.name not in arguments.only):
                continue
            if "lite0" in str(case.settings.get("checkpoint")) and arguments.lite0 is None:
                continue
            known = {**known, **_noted(case.name, measured(case, work))}
    replace_part(ROOT / "README.md", "improve", page(list(known.values())))


def _noted(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Add a case to the record, beside those that another call may have added since."""
    known = {one["case"]: one for one in json.loads(RECORD.read_text())} if RECORD.is_file() else {}
    known[name] = found
    RECORD.write_text(json.dumps(list(known.values()), indent=1) + "\n", encoding="utf-8")
    return known


if __name__ == "__main__":
    main()
