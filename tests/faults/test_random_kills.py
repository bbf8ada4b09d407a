"""Runs that are killed at drawn moments of training go on to the undisturbed run's bytes: see :mod:`random_moments`."""

import random
import shutil
import signal

import pytest

from image_folders import two_classes
from random_moments import drawn_moments
from run_results import same_result
from several_processes import forked_together
from small_runs import TRAIN

pytestmark = pytest.mark.faults

LONGER = [*TRAIN, "--epochs", "3", "--checkpoint-interval", "1"]
GRADIENT = ["--method", "refocus", "--space", "gradient", "--start", "kaiming"]
KERNEL = ["--method", "refocus", "--space", "kernel", "--opt", "adamw", "--rounds", "3"]
FOLDER = ["--data", "folder:{data}", "--img-size", "16", "--epoch-steps", "2", "--workers", "2", "--re-prob", "0.5"]
# Fork servers take seconds to start, and workers of either kind end with the process that they work for.
FORKED_WORKERS = """
import multiprocessing, refconv.data.loading
refconv.data.loading.worker_context = lambda: multiprocessing.get_context("fork")
"""
CASES = {
    "gradient space": (14, [*GRADIENT, "--model-ema"]),
    "kernel space": (10, KERNEL),
    "data workers": (8, [*GRADIENT, *FOLDER]),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("data"), (16, 16), count=24)


@pytest.mark.parametrize("name", CASES)
def test_a_run_killed_at_any_moment_is_resumed_to_the_same_result(name, forks, data, tmp_path, figures):
    number, more = CASES[name]
    train = [*LONGER, *(part.format(data=data) for part in more), "--out"]
    whole, run, noted = (tmp_path / name for name in ("whole", "run", "noted"))

    def first(at):
        return f"{FORKED_WORKERS}\nimport random_moments; random_moments.count_moments({str(noted)!r}, {at})"

    assert forks.run([*train, whole], first=first(0)).status == 0
    wrong, moments = [], drawn_moments(random.Random(name), noted, number)
    for at in moments:
        shutil.rmtree(run, ignore_errors=True)
        killed = forks.run([*train, run], first=first(at))
        after = forks.run([*train, run, "--resume", "auto"], first=FORKED_WORKERS)
        wrong += [(at, found) for found in _wrong(killed.status, after.status, after.err, whole, run)]
    figures("a run killed at a drawn moment is resumed to the undisturbed run's bytes", number, number - len(wrong))
    assert not wrong, wrong[:3]


def _wrong(killed, after, said, whole, run):
    """Return what is wrong with a run that was killed and then resumed, in a list of at most one."""
    if killed != -signal.SIGKILL or after:
        return [(killed, after, said)]
    try:
        same_result(whole, run)
    except AssertionError as error:
        return [str(error)]
    return []


COUNTED = """
import os, sys, random_moments
from refconv.cli import main
rank, noted, killed, at = os.environ["RANK"], *sys.argv[1:4]
random_moments.count_moments(noted + rank, int(at) if rank == killed else 0)
sys.exit(main(sys.argv[4:]))
"""


def test_two_processes_of_which_one_is_killed_at_any_moment_go_on_to_the_same_result(tmp_path, figures):
    """The other one ends by itself, or is ended as torchrun does."""
    train, noted, number = [*LONGER, *GRADIENT, "--out"], tmp_path / "noted", 6
    whole, run = tmp_path / "whole", tmp_path / "run"

    def together(killed, at, *command):
        return forked_together(2, COUNTED, noted, killed, at, *command, alone=10)

    assert [one.returncode for one in together(0, 0, *train, whole)] == [0, 0]
    generator, wrong = random.Random(0), []
    moments = {rank: drawn_moments(generator, f"{noted}{rank}", number // 2) for rank in (0, 1)}
    for killed, at in [(rank, at) for rank, drawn in moments.items() for at in drawn]:
        shutil.rmtree(run, ignore_errors=True)
        ended = together(killed, at, *train, run)[killed].returncode
        after = together(0, 0, *train, run, "--resume", "auto")
        status, said = max(one.returncode for one in after), "".join(one.stderr for one in after)
        wrong += [(killed, at, found) for found in _wrong(ended, status, said, whole, run)]
    figures("two processes of which one is killed at a drawn moment go on to the undisturbed run's bytes", number,
            number - len(wrong))  # fmt: skip
    assert not wrong, wrong[:3]
