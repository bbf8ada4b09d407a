"""Signals: remembered once, put back afterwards."""

import signal
import threading

import pytest

from refconv.process.interruption import (
    INTERRUPTED,
    SIGNALS,
    Interruption,
    _asked,
    interruptible,
    leave,
    status_of_stop,
)


@pytest.fixture(autouse=True)
def nothing_asked():
    """Let each test be a process that no signal asked to stop."""
    _asked.clear()
    yield
    _asked.clear()


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGUSR1, "SIGUSR1")],
)
def test_a_signal_is_remembered_and_the_handler_put_back(number, word):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal is None
        signal.raise_signal(number)
        assert interruption.signal is number
        assert interruption.word == ("Ctrl-C" if number == signal.SIGINT else number.name)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once():
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_patient_one_waits_for_the_checkpoint():
    with Interruption(patient=True) as interruption:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert interruption.signal is signal.SIGINT


def test_another_thread_changes_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def enter():
        with Interruption():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_sigterm_does_not_wait_for_a_step_without_end():
    left = threading.Event()
    with Interruption(patience=0.0, overdue=left.set) as interruption, interruption.may_be_left():
        signal.raise_signal(signal.SIGTERM)
        assert left.wait(60)


def test_every_signal_waits_where_weights_change():
    left = threading.Event()
    with Interruption(patience=0.0, overdue=left.set) as interruption:
        with interruption.may_be_left() as keep:
            keep()  # from here on the step changes weights
            signal.raise_signal(signal.SIGINT)
            interruption._timer.join(0.05)
            assert not left.is_set()
        with interruption.may_be_left():
            assert left.wait(60)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_can_be_left_at_once_says_which_signal_it_was(number):
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert status_of_stop() == 128 + number


def test_an_ignored_signal_stays_ignored():
    """As SIGHUP is under nohup."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert interruption.signal is None
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_leaving_says_why_ends_workers_and_gives_the_status(monkeypatch, capsys):
    ended = []

    class Child:
        def kill(self):
            ended.append("killed")

    def exit_with(status):
        ended.append(status)

    monkeypatch.setattr("multiprocessing.active_children", lambda: [Child()])
    monkeypatch.setattr("os._exit", exit_with)
    leave("run: stopped")
    assert ended == ["killed", INTERRUPTED]
    assert capsys.readouterr().err == "refconv: run: stopped\n"


def test_another_signal_does_not_cut_short_what_is_written_after_the_first_but_ctrl_c_does():
    """As where Slurm sends SIGTERM after SIGUSR1."""
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert status_of_stop() == 128 + signal.SIGUSR1
