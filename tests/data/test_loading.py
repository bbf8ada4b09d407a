"""Samples come in the order that is asked for, and what a worker cannot read is said as if it had been read here."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from ready_processes import Script
from refconv.data import loading
from refconv.data.loading import _Collate, _unpacked, load_batches, prepare_worker, workers_kept
from refconv.engine import Recipe, train
from refconv.errors import DataError, RefconvWarning
from signalled_samples import Dying, Made, Signalled, Squares

BATCHES = [torch.tensor([4, 0]), torch.tensor([2])]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_come_in_order(workers):
    assert list(load_batches(Squares(), BATCHES, workers=workers, collate=tuple)) == [(16, 0), (4,)]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_an_unreadable_sample_is_said_whole_after_what_came_before(workers):
    batches = load_batches(Squares(2), BATCHES, workers=workers, collate=tuple)
    assert next(batches) == (16, 0)
    with pytest.raises(DataError) as caught:
        next(batches)
    found = caught.value
    parts = (found.what, found.where, found.expected, found.found, found.remedy)
    assert parts == ("unreadable", "sample 2", "a square", "nothing", "mend it")


def test_a_batch_with_an_unreadable_sample_is_not_collated():
    def collate(samples):
        raise AssertionError(samples)

    with pytest.raises(DataError, match="sample 4"):
        list(load_batches(Squares(4), BATCHES, workers=0, collate=collate))


def test_nothing_is_loaded_for_no_batches_whatever_the_workers():
    assert list(load_batches(Squares(), [], workers=4, collate=tuple)) == []


def test_the_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    list(load_batches(Squares(), BATCHES, workers=0, collate=tuple))
    assert torch.equal(torch.get_rng_state(), before)


def test_signals_to_the_whole_group_do_not_end_workers():  # takes the start of a worker process
    batches = load_batches(Signalled(), BATCHES * 3, workers=1, collate=tuple)
    assert list(batches) == [(16, 0), (4,)] * 3


HELD = """
import torch
from refconv.data.loading import load_batches
from refconv.errors import DataError
from signalled_samples import Squares
try:
    list(load_batches(Squares(2), [torch.tensor([2])] * 9, workers=1, collate=tuple))
except DataError as error:
    kept = error
"""


def test_a_process_ends_although_an_error_holds_its_workers():
    assert Script(HELD).wait(seconds=900).returncode == 0


class Held:
    """A loader during whose start Ctrl-C is pressed."""

    def __init__(self, *arguments, **settings):
        pass

    def __iter__(self):
        # To this thread: of a signal to the process another thread may take note, at any later time.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return iter([7])


def test_a_signal_while_workers_start_is_not_missed(monkeypatch):
    monkeypatch.setattr("refconv.data.loading.DataLoader", Held)
    with pytest.raises(KeyboardInterrupt):
        next(load_batches(Squares(), BATCHES, workers=0, collate=tuple))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.slow  # torch looks for dead workers every five seconds
def test_a_worker_that_dies_is_said_in_one_line():
    with pytest.raises(DataError, match="workers: a data worker died; .*fewer workers, 0 uses none"):
        list(load_batches(Dying(), BATCHES, workers=1, collate=tuple))


def _serve(ready):
    prepare_worker(0)
    ready.send(os.getpid())
    time.sleep(600)


def _start_a_worker(ready):
    multiprocessing.get_context("fork").Process(target=_serve, args=(ready,)).start()
    time.sleep(600)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_worker_ends_when_the_process_that_it_works_for_is_killed():
    context = multiprocessing.get_context("fork")
    receive, ready = context.Pipe()
    parent = context.Process(target=_start_a_worker, args=(ready,))
    parent.start()
    status = Path(f"/proc/{receive.recv()}/status")
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and status.exists() and "Z (zombie)" not in status.read_text():
        time.sleep(0.02)
    assert not status.exists() or "Z (zombie)" in status.read_text()


def test_a_worker_that_imports_an_unguarded_script_leaves_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    words = 'a data worker imports the script that started it; call refconv below if __name__ == "__main__":'
    with pytest.raises(SystemExit, match=words):
        list(load_batches(Squares(), BATCHES, workers=1, collate=tuple))
    with pytest.raises(SystemExit, match=words):
        train(Recipe(model="m", data="digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_to_have_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom refconv.data.loading import load_batches\n"
        "from signalled_samples import Squares\n"
        "print(list(load_batches(Squares(), [torch.tensor([1])], workers=1, collate=tuple)))\n"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "bootstrapping phase" not in done.stderr
    assert done.stderr.rstrip().endswith('in a script, call refconv below if __name__ == "__main__":')


def test_a_batch_that_finds_no_shared_memory_is_copied_and_said(monkeypatch):
    """Where torch shares tensors in a thread of its own, the error is lost and the process waits for ever."""
    samples = [torch.arange(3.0), torch.ones(3)]
    shared = _Collate(torch.stack, packs=True)(samples)
    assert shared.shared
    assert torch.equal(_unpacked(shared), torch.stack(samples))

    def full(batch):
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")

    monkeypatch.setattr(ForkingPickler, "dumps", full)
    copied = _Collate(torch.stack, packs=True)(samples)
    with pytest.warns(RefconvWarning, match="workers: the shared memory of this machine is full"):
        assert torch.equal(_unpacked(copied), torch.stack(samples))


def split_by_process(batches):
    """Return the processes that made batches of :class:`Made`, and what is in them."""
    found = list(batches)
    return {pid for batch in found for pid, *_ in batch}, [[rest for _, *rest in batch] for batch in found]


def test_workers_are_kept_for_all_epochs_and_splits_and_make_the_same_batches():
    first, second = list(range(0, 90, 10)), list(range(9))
    asked = [Made(first), Made(first, epoch=1), Made(second), Made(first, epoch=2), Made(second), Made(first)]
    batches = [torch.tensor([index, index + 1]) for index in range(8)]
    with workers_kept():
        loads = [load_batches(one, batches, workers=2, collate=list) for one in asked]
        kept = [split_by_process(load) for load in loads]
        assert len(multiprocessing.active_children()) >= 2
    workers = set.union(*(pids for pids, _ in kept))
    assert len(workers) == 2
    assert os.getpid() not in workers
    here = [split_by_process(load_batches(one, batches, workers=0, collate=list)) for one in asked]
    assert [made for _, made in kept] == [made for _, made in here]
    assert not {process.pid for process in multiprocessing.active_children()} & workers
    pids, made = split_by_process(load_batches(asked[0], batches, workers=2, collate=list))
    assert not pids & workers
    assert made == here[0][1]


def test_batches_that_were_left_are_not_taken_for_others():
    values = list(range(12))
    batches = [torch.tensor([index]) for index in range(12)]
    wanted = [[(0, index)] for index in range(12)]
    with workers_kept():
        left = load_batches(Made(values), batches, workers=1, collate=list)
        (worker, *_), *_ = next(left)
        left.close()
        pids, made = split_by_process(load_batches(Made(values), batches, workers=1, collate=list))
        assert pids == {worker}
        beside = load_batches(Made(values, epoch=1), batches, workers=1, collate=list)
        next(beside)  # these are not left: others that begin now get a worker of their own
        others, same = split_by_process(load_batches(Made(values), batches, workers=1, collate=list))
        assert others != {worker}
        assert split_by_process(beside) == ({worker}, [[[1, index]] for index in range(1, 12)])
    assert made == same == [[list(one) for one in batch] for batch in wanted]


def test_more_sources_than_workers_hold_are_sent_again():
    lists = [[number, number + 100] for number in range(9)]
    with workers_kept():
        for values in (*lists, *lists):
            _, made = split_by_process(load_batches(Made(values), [torch.tensor([1])], workers=1, collate=list))
            assert made == [[[0, values[1]]]]


def test_an_unreadable_sample_ends_the_batches_and_not_the_worker():
    unreadable, whole = Squares(2), Squares()
    with workers_kept():
        for _ in range(2):
            with pytest.raises(DataError, match="sample 2"):
                list(load_batches(unreadable, BATCHES * 4, workers=1, collate=tuple))
            assert list(load_batches(whole, BATCHES, workers=1, collate=tuple)) == [(16, 0), (4,)]


@pytest.mark.parametrize("kept", [False, True], ids=["for one split", "kept"])
def test_workers_end_with_an_error_that_is_still_referred_to(kept):
    before = {process.pid for process in multiprocessing.active_children()}
    with workers_kept() if kept else nullcontext(), pytest.raises(DataError, match="sample 2") as caught:
        list(load_batches(Squares(2), BATCHES, workers=2, collate=tuple))
    workers = [process for process in multiprocessing.active_children() if process.pid not in before]
    for worker in workers:  # one that was told to end may need a moment; one that was not never ends
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert caught.value.__traceback__ is not None


@pytest.mark.slow
def test_a_worker_that_died_is_started_anew():
    whole = Squares()
    with workers_kept():
        with pytest.raises(DataError, match="a data worker died"):
            list(load_batches(Dying(), BATCHES, workers=1, collate=tuple))
        assert list(load_batches(whole, BATCHES, workers=1, collate=tuple)) == [(16, 0), (4,)]


@pytest.mark.parametrize(("device", "pins"), [("cuda", True), ("cpu", False), (None, False)])
def test_memory_is_pinned_for_an_accelerator(device, pins, monkeypatch):
    made = []
    monkeypatch.setattr(loading, "DataLoader", lambda *_, **settings: made.append(settings))
    with workers_kept(None if device is None else torch.device(device)):
        loading._KEPT.get().of(1)
    assert [one["pin_memory"] for one in made] == [pins]


def test_a_packed_batch_is_pinned_unpacked(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: pinned.append(self) or self)
    images, labels = _Collate(list, packs=True)([torch.ones(3), torch.zeros(2)]).pin_memory()
    assert [one.tolist() for one in pinned] == [images.tolist(), labels.tolist()] == [[1.0] * 3, [0.0] * 2]
