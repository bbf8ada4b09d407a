"""Two processes: DDP and FSDP2 train as one process does, FSDP2 resumes, and random starts agree."""

from pathlib import Path

from two_processes import two_processes


def test_two_processes_train_as_one():
    first, _ = two_processes(Path(__file__).parents[1] / "run_gradspace.py")
    agreed = [line.removesuffix(": agrees") for line in first.splitlines() if line.endswith(": agrees")]
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
