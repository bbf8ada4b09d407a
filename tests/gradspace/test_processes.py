"""Two and three processes: DDP and FSDP2 train as one process does, FSDP2 resumes, and random starts agree."""

from pathlib import Path

import pytest

from several_processes import several_processes


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.faults)])
def test_several_processes_train_as_one(count):
    first, *_ = several_processes(count, Path(__file__).parents[1] / "run_gradspace.py")
    agreed = [line.removesuffix(": agrees") for line in first.splitlines() if line.endswith(": agrees")]
    assert agreed == [
        "ddp",
        "fsdp",
        "fsdp across, power",
        "fsdp layer",
        "fsdp filters",
        "fsdp damped",
        "fsdp resumes",
        "refocus weight",
        "random start",
        "split",
        "replaced",
    ]
