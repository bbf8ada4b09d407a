"""Reports of real pairs of models, for docs/reports.md: a classifier of Fashion-MNIST and a detector of scenes.

    python benchmarks/reports.py [--only NAME] [--study runs/main] [--detection runs/detection] [--out runs/reports]

The classifier is that of studies/main.toml, continued plainly and refocused from the base of the first seed, with the
settings that the study chose on validation data; the recipes are the study's, and a base that the study has left in its
folder is taken. The detector is that of the first seed of studies/detection.toml. Finished runs and analyses are
kept, interrupted runs resumed. Screenshots are taken where Chromium and playwright are at hand.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from browser import screenshot
from pages import ROOT, replace_part, table
from refconv.analysis.analysing import Display
from refconv.analysis.evidence import AnalysisConfig
from refconv.analysis.reportable import ANALYSIS_FOLDER
from refconv.analysis.reporting import analyses_of
from refconv.engine.loop import train
from refconv.models.run_folder import RunFolder
from refconv.report import Report, read_pair, write_report
from refconv.studies import Comparison, read_study
from refconv.studies.conduct import open_data_of
from refconv.studies.execution import has_weights
from refconv.studies.runs import Run, Runs, classifier

STUDY, RECORD = ROOT / "studies" / "main.toml", ROOT / "studies" / "records" / "main.json"
PAGE, REPORTS = ROOT / "docs" / "reports.md", ROOT / "docs" / "reports"
SUMMARY = Path(__file__).with_suffix(".json")
CLASSIFIERS = ("mobilenet",)
METHODS = ("plain", "refocus")
DETECTOR = "detector"
NAMES = (*CLASSIFIERS, DETECTOR)
_SEED = 0
_SECONDS = 600  # of all measures


def runs_of(architecture: str, study_folder: Path, out: Path) -> tuple[Path, list[Path]]:
    """Return base and continuations of an architecture, trained where they are missing.

    Args:
        architecture: its name in the main study.
        study_folder: where the study may have left the base.
        out: where runs go.
    """
    study = read_study(STUDY)
    chosen = {(cell.architecture, cell.method): cell.point for cell in Comparison.read(RECORD).cells}
    sizes = {name: info.train_size for name, info in open_data_of(study).items()}
    found = []
    base = study_folder / "base" / architecture / f"seed-{_SEED}"
    for method in METHODS:
        runs = Runs(study, study_folder, sizes, only=f"{architecture}/{method}")
        if not has_weights(base):
            base = out / architecture / "base"
            wanted = next(run for run in runs.bases() if run.recipe.seed == _SEED)
            _trained(replace(wanted, folder=base))
        ((owner, contender),) = runs.cells
        finals = runs.final(owner, contender, chosen[architecture, method])
        run = next(run for run in finals if run.recipe.seed == _SEED)
        recipe = replace(run.recipe, checkpoint=str(base / "model"))
        found.append(_trained(replace(run, recipe=recipe, folder=out / architecture / method)))
    return base, found


def _trained(run: Run) -> Path:
    folder = RunFolder(run.folder)
    if not folder.record_file.is_file():
        train(run.recipe, run.folder, resume=folder.checkpoint_file.is_file())
    return run.folder


def write(name: str, base: Path, runs: Sequence[Path]) -> Report:
    """Write the report of some runs from one base, and a picture of how it begins; return what it says.

    Args:
        name: what the files are called.
        base: the run that they start from.
        runs: the runs, each called by the name of its method.
    """
    analyses_of(runs, AnalysisConfig(seconds=_SECONDS), before=str(base), display=Display)
    folders = [run / ANALYSIS_FOLDER for run in runs]
    pairs = [replace(read_pair(folder), name=method) for folder, method in zip(folders, METHODS, strict=True)]
    report = write_report(pairs, REPORTS / f"{name}.html")
    screenshot(report.path, REPORTS / f"{name}.png")
    return report


def fill(reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Fill the page.

    Args:
        reports: what each report says, by its name.
    """
    rows = [
        (f"[{name}](reports/{name}.html)", f"{entry['size'] / 1e6:.1f} MB", f"{len(entry['sections'])}", pair, says)
        for name, entry in reports.items()
        for pair, says in entry["headlines"].items()
    ]
    pictures = [f"![How the report on {name} begins](reports/{name}.png)" for name in reports]
    header = ("report", "size", "measures", "from the base", "came out as")
    replace_part(PAGE, "reports", "\n\n".join([table(header, rows), *pictures]))


def main() -> None:
    """Train what is missing, write the reports, fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("runs", "main"))
    parser.add_argument("--detection", type=Path, default=Path("runs", "detection"))
    parser.add_argument("--out", type=Path, default=Path("runs", "reports"))
    parser.add_argument("--only", choices=NAMES, action="append")
    arguments = parser.parse_args()
    os.chdir(ROOT)  # a page names its models by paths, which should mean the same to everyone
    for name in arguments.only or NAMES:
        if name == DETECTOR:
            cell = Comparison.read(arguments.detection / "comparison.json").cells[0].architecture
            base = arguments.detection / "base" / cell / f"seed-{_SEED}"
            report = write(name, base, [classifier(arguments.detection, cell, method, _SEED) for method in METHODS])
        else:
            report = write(name, *runs_of(name, arguments.study, arguments.out))
        print(report)
        _note(name, report)


def _note(name: str, report: Report) -> None:
    """Keep what a report says, beside those of the others, and fill the page."""
    known = json.loads(SUMMARY.read_text(encoding="utf-8")) if SUMMARY.is_file() else {}
    known[name] = {"size": report.size, "sections": report.sections, "headlines": dict(report.headlines)}
    known = {name: known[name] for name in NAMES if name in known}
    SUMMARY.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fill(known)


if __name__ == "__main__":
    main()
