"""Five short runs and the digests of their final weights: a refactoring must reproduce them bit for bit.

    python benchmarks/golden.py            # writes benchmarks/golden.json
    python benchmarks/golden.py --check    # runs again and compares; exit status 1 where a run ends elsewhere

The five: both spaces and a rival on digits, a detector and a segmenter on scenes, a restorer on photographs. Digests
are of one machine and one version of torch, which the record names; on another machine write the record before the
change and check after it. One thread, about a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

from pages import ROOT

RECORD = Path(__file__).with_suffix(".json")
_DIGITS = "--recipe recipes/digits.toml --epochs 2"
_SCENES = "--data-dir SCENES --epochs 1 --batch-size 8"
RUNS = {
    "kernel space, averaged": f"{_DIGITS} --method refocus --space kernel --model-ema",
    "gradient space, two rounds": f"{_DIGITS} --method refocus --space gradient --opt sgd --rounds 2",
    "low_rank, AdamW": f"{_DIGITS} --method low_rank --opt adamw --lr 0.001",
    "segmentation": f"--recipe recipes/segmentation.toml {_SCENES} --method refocus",
    "restoration": "--recipe recipes/restoration.toml --epochs 1 --method refocus",
}


def digest(file: Path) -> str:
    """Return the digest of names, types, shapes and bytes of the tensors in a safetensors file."""
    found = hashlib.sha256()
    with safe_open(file, framework="pt") as tensors:
        for name in sorted(tensors.keys()):
            tensor = tensors.get_tensor(name).contiguous()
            found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def results() -> dict[str, str]:
    """Train every run in a folder that is removed, and return the digests by name."""
    program = [sys.executable, "-m", "refconv"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        make = [
            *program,
            "data",
            "scenes",
            "--out",
            str(scenes),
            "--train",
            "24",
            "--val",
            "8",
            "--test",
            "8",
            "--source",
            "digits",
        ]
        subprocess.run(make, cwd=ROOT, check=True, env=environment)
        for number, (name, words) in enumerate(RUNS.items()):
            out = Path(folder) / str(number)
            command = [*program, "train", *words.replace("SCENES", str(scenes)).split(), "--out", str(out)]
            subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=subprocess.DEVNULL)
            found[name] = digest(out / "model" / "model.safetensors")
            print(f"{name}: {found[name]}")
    return found


def main() -> None:
    """Write the record, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    found = results()
    if not check:
        processor = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
        facts = {"processor": processor.partition(":")[2].strip(), "torch": torch.__version__, "digests": found}
        RECORD.write_text(json.dumps(facts, indent=1) + "\n")
        return
    before = json.loads(RECORD.read_text())["digests"]
    other = [name for name in RUNS if before.get(name) != found[name]]
    print(f"{len(RUNS) - len(other)} of {len(RUNS)} end at the same bits{': not ' if other else ''}{', '.join(other)}")
    sys.exit(1 if other else 0)


if __name__ == "__main__":
    main()
