"""Signals: remembered once, put back afterwards."""

import signal
import threading

import pytest

from refconv.training.interruption import Interruption


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_is_remembered_and_the_handler_put_back(number, word):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal is None
        signal.raise_signal(number)
        assert interruption.signal is number
        assert interruption.word == word
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
