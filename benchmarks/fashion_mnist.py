"""The worked example: a MobileNet-like network on Fashion-MNIST, continued plainly and refocused at equal budget.

    python benchmarks/fashion_mnist.py [--seeds 1] [--runs runs/fashion-mnist]

Per seed three commands: train a base, then go on from that same base plainly and refocused, with the same recipe, data
order, augmentation and number of samples. Finished runs are kept and interrupted ones resumed, so the command can
be given again at any time. Writes ``benchmarks/fashion_mnist.json`` and docs/fashion-mnist.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from pages import ROOT, replace_part, table
from refconv.surgery import Certificate

RECIPE = "recipes/fashion-mnist.toml"
RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "fashion-mnist.md"
NAMES = {"base": "base", "plain": "plain continued training", "refocus": "refocused"}


def commands(folder: Path, seed: int) -> dict[str, list[str]]:
    """Return the command of each run of a seed."""
    common = ["refconv", "train", "--recipe", RECIPE, "--seed", str(seed)]
    base = folder / f"base-{seed}"
    further = ["--checkpoint", str(base), "--epochs", "4", "--warmup-epochs", "0", "--lr", "0.05"]
    return {
        "base": [*common, "--method", "plain", "--epochs", "8", "--out", str(base)],
        "plain": [*common, "--method", "plain", *further, "--out", str(folder / f"plain-{seed}")],
        "refocus": [
            *common, "--method", "refocus", "--space", "kernel", "--gram-scale", "paper", *further,
            "--out", str(folder / f"refocus-{seed}"),
        ],
    }  # fmt: skip


def finished(command: list[str]) -> dict[str, Any]:
    """Run a command unless its run is finished already, and return the run's record."""
    out = Path(command[command.index("--out") + 1])
    if not (ROOT / out / "record.json").exists():
        resume = ["--resume"] if (ROOT / out).exists() else []
        program = [sys.executable, "-m", "refconv", *command[1:], *resume]
        subprocess.run(program, cwd=ROOT, check=True)
    record: dict[str, Any] = json.loads((ROOT / out / "record.json").read_text(encoding="utf-8"))
    return record


def summary(rows: list[dict[str, float]]) -> str:
    """Return the table of accuracies over seeds and the paired difference in words."""
    lines = []
    for name, title in NAMES.items():
        scores = [100 * row[f"{name}_top1"] for row in rows]
        losses = [row[f"{name}_loss"] for row in rows]
        lines.append(
            (
                title,
                " / ".join(f"{score:.2f}" for score in scores),
                f"{statistics.mean(scores):.2f}",
                f"{statistics.mean(losses):.4f}",
                f"{rows[0][f'{name}_parameters_trained']:,}",
                f"{rows[0][f'{name}_parameters_shipped']:,}",
            )
        )
    header = ("", "top-1 per seed, %", "mean, %", "test loss", "parameters trained", "shipped")
    differences = [100 * (row["refocus_top1"] - row["plain_top1"]) for row in rows]
    words = f"Refocused minus plain, per seed: {', '.join(f'{d:+.2f}' for d in differences)} points"
    if len(differences) > 1:
        spread = statistics.stdev(differences)
        words += f"; mean {statistics.mean(differences):+.2f}, standard deviation {spread:.2f}"
    seen = ", ".join(f"{title} {rows[0][f'{name}_samples_seen']:,}" for name, title in NAMES.items())
    return f"{table(header, lines)}\n\n{words}. Samples seen: {seen}."


def write_page(record: dict[str, Any], rows: list[dict[str, float]]) -> None:
    """Put the figures and commands into the page."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    replace_part(PAGE, "results", summary(rows))
    lines = [shlex.join(command) for command in commands(Path("runs/fashion-mnist"), 0).values()]
    replace_part(PAGE, "commands", "```sh\n" + "\n".join(lines) + "\n```")
    replace_part(PAGE, "certificate", f"```\n{Certificate.from_dict(record['certificate'])}\n```")
    replace_part(PAGE, "conditions", f"Measured on {record['hardware']}; {versions}.")


def main() -> None:
    """Run what is missing, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/fashion-mnist"))
    arguments = parser.parse_args()
    rows: list[dict[str, float]] = []
    for seed in range(arguments.seeds):
        records = {name: finished(command) for name, command in commands(arguments.runs, seed).items()}
        row: dict[str, float] = {"seed": seed}
        for name, run in records.items():
            for key in ("top1", "loss", "parameters_trained", "parameters_shipped", "samples_seen"):
                row[f"{name}_{key}"] = run[key]
        rows.append(row)
        record = {key: records["refocus"][key] for key in ("certificate", "hardware", "versions")}
        RECORD.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        write_page(record, rows)


if __name__ == "__main__":
    main()
