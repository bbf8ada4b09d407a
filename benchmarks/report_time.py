"""How long does a report take, and on how many samples are its measures?

    python benchmarks/outside.py --cifar FOLDER --resnets FOLDER       lays out images and weights
    python benchmarks/report_time.py [--seconds S]

Two networks are trained for an epoch on 500 JPEG copies of CIFAR-10: the public ResNet-20, and a MobileNetV3 at 128
pixels that starts from an epoch of its own. Then each is analysed on the 8,000 test images as ``refconv report`` does,
with one thread. Writes ``benchmarks/report_time.json`` and the table in docs/analysis.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import refconv
from pages import ROOT, replace_part, table
from refconv.analysis import timing
from refconv.analysis.evidence import AnalysisConfig
from refconv.analysis.keeping import read_facts
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.analysis.reportable import ANALYSIS_FOLDER
from refconv.analysis.reporting import analyses_of
from refconv.cli import measuring

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "analysis.md"
WORK = ROOT / "runs" / "outside"
RUNS = ROOT / "runs" / "report_time"
MOBILE = ["--model", "mobilenetv3_large_100", "--no-pretrained", "--img-size", "128", "--lr", "0.001"]
RESNET = ["--model", "resnet:resnet20", "--checkpoint", str(WORK / "resnet20.th"), "--lr", "0.01"]


def train(name: str, *flags: str) -> Path:
    """Train a network for an epoch, if that was not done; return the run."""
    run = RUNS / name
    if not (run / "record.json").is_file():
        given = ["--data", f"folder:{WORK / 'cifar-500'}", "--epochs", "1", "--workers", "0", "--device", "cpu"]
        paths = os.pathsep.join(filter(None, (str(WORK), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "refconv", "train", *flags, *given, "--out", str(run)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})
    return run


def runs() -> Iterator[tuple[str, Path]]:
    """Yield the runs, trained if they are not there."""
    yield "resnet20, 32 px", train("resnet20", *RESNET)
    base = train("mobilenetv3-base", *MOBILE)
    yield "mobilenetv3_large_100, 128 px", train("mobilenetv3", *MOBILE, "--checkpoint", str(base / "model"))


def measured(run: Path, seconds: float) -> dict[str, Any]:
    """Analyse a run against its start; return the seconds of all and of each measure, and the samples."""
    wall, begin = time.perf_counter(), time.process_time()
    analyses_of([run], AnalysisConfig(seconds=seconds, device="cpu"), again=True)
    spent = {"seconds": round(time.process_time() - begin, 1), "wall": round(time.perf_counter() - wall, 1)}
    facts = read_facts(run / ANALYSIS_FOLDER)
    assert facts is not None
    return {**spent, "measures": dict(facts.measured), "samples": dict(facts.samples)}


def shown(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    found = record["networks"]
    weights = [f"{sum(one['measures'].get(name, 0) for name in WEIGHT_MEASURES):.1f} s" for one in found.values()]
    rows = [("measures of weights", *weights)]
    rows.extend((f"`{name}`", *(_taken(one, name) for one in found.values())) for name in DATA_MEASURES)
    rows.append(("all", *(f"{one['seconds']:.0f} s" for one in found.values())))
    where = f"torch {record['torch']}, {record['machine']}, one thread, `--seconds {record['bound']:g}`."
    return f"{table(('samples and time', *found), rows)}\n\nThe last row is processor time; {where}"


def _taken(network: dict[str, Any], name: str) -> str:
    """Return samples and time of a measure, or that too little time was left for it."""
    if name not in network["samples"]:
        return "left out"
    return f"{network['samples'][name]:,}, {network['measures'][name]:.1f} s"


def main() -> None:
    """Measure, keep the record and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = inspect.signature(measuring.report).parameters["seconds"].default
    parser.add_argument("--seconds", type=float, default=default)
    bound = parser.parse_args().seconds
    torch.set_num_threads(1)
    timing.clock = time.process_time
    sys.path.insert(0, str(WORK))
    refconv.trust("resnet")
    about = {"torch": torch.__version__.split("+")[0], "machine": platform.machine(), "bound": bound}
    found: dict[str, Any] = {}
    for name, run in runs():
        found[name] = measured(run, bound)
        RECORD.write_text(json.dumps({**about, "networks": found}, indent=1) + "\n", encoding="utf-8")
        replace_part(PAGE, "report_time", shown(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
