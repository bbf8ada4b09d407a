"""What starts worker processes needs no torch, and can begin before it is there."""

import subprocess
import sys
from multiprocessing import forkserver

import pytest

from refconv.process.workers import start_ahead, worker_context


@pytest.mark.skipif(worker_context().get_start_method() != "forkserver", reason="workers are spawned here")
def test_the_process_that_makes_workers_is_started_ahead_and_imports_what_they_need(monkeypatch):
    started = []
    monkeypatch.setattr(forkserver, "ensure_running", lambda: started.append(forkserver._forkserver._preload_modules))
    start_ahead()
    assert started == [["refconv.data.disk"]]


def test_starting_it_needs_no_torch():
    code = "import sys; import refconv.process.workers; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_workers_are_not_forked_from_a_process_that_has_threads():
    assert worker_context().get_start_method() in {"forkserver", "spawn"}
