"""Progress: plain lines in a pipe, a bar in a terminal, nothing when asked for nothing."""

import io
import sys

import pytest
from rich.console import Console

from refconv.data import open_data
from refconv.process.progress import Evaluating, StepDisplay


def show(shown):
    with shown:
        for step in range(1, 11):
            shown.move(step)
        shown.train(step=10, epoch=0.5, loss=1.25, lr=0.1, rate=1234.5)
        shown.say("epoch 1: [bold]validation[/bold]")


def test_lines_are_plain_and_say_rate_and_time_left(capsys):
    show(StepDisplay("plain net", start=0, total=20))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("plain net  step 10/20  epoch 0.50  loss 1.2500  lr 0.1  1,23")
    assert lines[0].endswith(" left")
    assert lines[1] == "epoch 1: [bold]validation[/bold]"
    assert len(lines) == 2


def test_the_bar_shows_numbers_and_lasting_lines():
    file = io.StringIO()
    show(StepDisplay("plain net", start=0, total=20, console=Console(file=file, force_terminal=True, width=140)))
    text = file.getvalue()
    assert "plain net" in text
    assert "10/20" in text
    assert "loss 1.2500" in text
    assert "samples/s" in text
    assert "[bold]validation[/bold]" in text


def test_the_bar_of_a_narrow_terminal_keeps_bar_rate_and_time_left():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    show(StepDisplay("refocus mobilenet_small", start=0, total=20, console=console))
    last = file.getvalue().rpartition("\x1b[2K")[2].splitlines()[0]
    assert all(word in last for word in ("\u2501", "10/20", " left", "loss 1.2500", "samples/s"))
    assert len(last) <= 80


def test_silence_prints_nothing(capsys):
    show(StepDisplay("plain net", total=20, show=False))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("terminal", "wanted", "bar"),
    [(True, True, True), (False, True, False), (True, False, False), (False, False, False)],
)
def test_a_bar_is_shown_where_standard_output_is_a_terminal(terminal, wanted, bar, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    shown = StepDisplay("title", total=1, show=wanted)
    assert (shown.terminal, shown.bar.disable) == (bar, not bar)


def test_time_left_counts_the_steps_of_this_sitting(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    lines = StepDisplay("t", start=90, total=3790)
    now[0] += 10
    lines.train(step=100, epoch=1, loss=0, lr=0, rate=0)
    assert capsys.readouterr().out.rstrip().endswith("1:01:30 left")


def test_an_evaluation_says_how_far_it_is_in_a_pipe(capsys, monkeypatch):
    data = open_data("digits")
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    count = 0
    with Evaluating("net", data, "test"):
        for _, labels in data.eval_batches("test", batch_size=100):
            now[0] += 5
            count += len(labels)
    assert (count, data.counted) == (359, None)
    assert capsys.readouterr().err.splitlines() == [
        "net  200/359 samples  0:08 left",
        "net  359/359 samples  0:00 left",
    ]
