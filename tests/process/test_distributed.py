"""One process alone: nothing is sent, and devices are found or refused. Several: test_torchrun.py."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from ready_processes import Script
from refconv.errors import DataError, RunError
from refconv.process.distributed import Processes, choose_device, joined
from several_processes import forked_together

CPU = torch.device("cpu")


def test_alone_by_default():
    with joined("cpu") as processes:
        assert (processes.rank, processes.world_size, processes.device) == (0, 1, CPU)
        assert processes.first
        assert processes.alone
        assert processes.sums([1.0, 2.0]) == processes.maxima([1.0, 2.0]) == [1.0, 2.0]


def test_an_error_alone_is_ones_own():
    error = DataError("no data")
    with pytest.raises(DataError, match="no data"), Processes(0, 1, CPU).together():
        raise error
    assert Processes(0, 2, CPU).agreed(error) is error
    assert isinstance(Processes(1, 2, CPU).agreed(error), SystemExit)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu", "device: unknown device; expected cpu, cuda, cuda:N or mps, found 'gpu'"),
        ("meta", "device: no such device here; found meta; use cpu"),
        ("xpu", "device: no such device here; found xpu; use cpu"),
        ("cuda:99", "device: no such device here; expected cpu.*, found cuda:99"),
    ],
)
def test_a_device_that_does_not_exist_is_refused(name, words):
    with pytest.raises(RunError, match=words):
        choose_device(name)


def test_the_best_device_is_the_default():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device(None).type == expected


PARENT = """
import os, sys, time
from pathlib import Path
from refconv.process.distributed import die_with_parent
if not os.fork():
    die_with_parent()
    Path(sys.argv[1]).write_text(f"{os.getpid()} ")
time.sleep(600)  # longer than the test waits for the end
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's service is Linux's")
def test_a_worker_dies_with_its_parent(tmp_path):
    parent, said = Script(PARENT, tmp_path / "worker"), tmp_path / "worker"
    deadline = time.monotonic() + 120
    while not (said.is_file() and said.read_text().endswith(" ")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    status = Path(f"/proc/{int(said.read_text())}/status")
    assert status.exists()
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.wait().returncode == -signal.SIGKILL
    while time.monotonic() < deadline and status.exists() and "Z (zombie)" not in status.read_text():
        time.sleep(0.02)
    assert not status.exists() or "Z (zombie)" in status.read_text()


REFUSED = """
import os, sys
from refconv.cli import main
os.environ["REFCONV_TRAIN_EPOCH"] = "3"  # gives no flag, which is a warning
recipe = sys.argv[1] + (os.environ["RANK"] if sys.argv[2] == "own" else "") + ".toml"
sys.exit(main(["train", "--recipe", recipe, "--out", "run"]))
"""


@pytest.mark.parametrize(("whose", "count"), [("common", 1), ("own", 3)])
def test_before_processes_have_joined_words_of_all_are_said_once(whose, count, tmp_path):
    """Also warnings; what only one process meets is said by that one."""
    ended = forked_together(3, REFUSED, tmp_path / "none", whose)
    assert [one.returncode for one in ended] == [2, 2, 2]
    lines = [line for one in ended for line in one.stderr.splitlines()]
    warnings, errors = ([line for line in lines if line.startswith(f"refconv: {kind}")] for kind in ("warn", "err"))
    assert len(warnings) == 1
    assert "REFCONV_TRAIN_EPOCH: gives no flag" in warnings[0]
    assert len(errors) == len(set(errors)) == count
    assert all("none" in line for line in errors)
    assert len(lines) == 1 + count
