"""Runs of seconds for tests of faults, and the processes that they are made in."""

import pytest

from forked_commands import Forks
from small_runs import TRAIN


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Processes forked from one that has done what ``TRAIN`` imports."""
    folder = tmp_path_factory.mktemp("forks")
    processes = Forks(folder)
    processes.learn([*TRAIN, "--out", folder / "first"])
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def base(forks, tmp_path_factory):
    """A run that has finished undisturbed."""
    run = tmp_path_factory.mktemp("base") / "run"
    assert forks.run([*TRAIN, "--out", run]).status == 0
    return run
