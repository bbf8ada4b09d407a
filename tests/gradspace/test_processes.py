"""Two and three processes: DDP and FSDP2 train as one process does, FSDP2 resumes, and random starts agree."""

import json
from pathlib import Path

import pytest

from several_processes import several_processes

AGREE = [
    "ddp", "fsdp", "fsdp across, power", "fsdp layer", "fsdp filters", "fsdp damped", "fsdp resumes", "refocus weight",
    "random start", "split", "replaced",
]  # fmt: skip


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.faults)])
def test_several_processes_train_as_one(count, figures):
    first, *_ = several_processes(count, Path(__file__).parents[1] / "run_gradspace.py")
    agreed = [line.removesuffix(": agrees") for line in first.splitlines() if line.endswith(": agrees")]
    figures(f"{count} processes under DDP and FSDP2 train and resume as one does", len(AGREE), len(agreed))
    assert agreed == AGREE


# How far weights and running statistics may end apart, as a share of how far training moved them. An entry of a
# gradient, as a statistic, is a sum over up to n = 11 * 10 * 10 images and places. Two orders of it differ by at most
# 2 (n - 1) u = 2.4e-13 of the sum of the absolute terms, u = 2^-53. The bound leaves a factor of 40 for what cancels in
# the sums, and for the four steps. What is wrong ends 1e-5 and more apart.
BOUND = 1e-11


@pytest.mark.faults
@pytest.mark.parametrize("count", [2, 3])
def test_uneven_shares_batch_norms_and_accumulated_parts_train_as_in_one_process(count, figures):
    first, *_ = several_processes(count, Path(__file__).parents[1] / "run_shares.py")
    found = json.loads(first.splitlines()[-1])
    for name in ("shares of one weight", "batch norms of each share"):
        assert found.pop(name) > 1e6 * BOUND, name
    assert len(found) == 16
    wrong = {name: distance for name, distance in found.items() if not distance <= BOUND}
    figures(f"{count} processes under DDP and FSDP2 train as one does: uneven shares, batch norms, accumulation",
            len(found), len(found) - len(wrong), worst=max(found.values()))  # fmt: skip
    assert not wrong
