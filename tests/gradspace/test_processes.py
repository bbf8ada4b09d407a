"""Two processes: DDP and FSDP2 train as one process does, FSDP2 resumes, and random starts agree."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "run_gradspace.py"


def test_two_processes_train_as_one():
    process = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    agreed = [line.removesuffix(": agrees") for line in process.stdout.splitlines() if line.endswith(": agrees")]
    assert agreed == [
        "ddp",
        "fsdp",
        "fsdp across, power",
        "fsdp resumes",
        "refocus weight",
        "random start",
        "split",
        "replaced",
    ]
