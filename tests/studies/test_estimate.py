"""Progress and estimates."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from refconv.recipe.recipe import Recipe
from refconv.studies import estimate as estimates
from refconv.studies.estimate import Board, Estimate, Pace
from refconv.studies.runs import Run


def run(architecture="net", method="plain", epochs=2):
    recipe = Recipe(model="x", data="digits", epochs=epochs)
    return Run(kind="final", architecture=architecture, method=method, point={}, recipe=recipe, folder=Path("x"))


def test_time_left_is_that_of_runs_of_the_same_cell():
    estimate = Estimate()
    assert estimate.seconds([run()]) is None
    for seconds in (10, 12, 50):
        estimate.learn(run(epochs=2), seconds)
    estimate.learn(run(method="slow", epochs=1), 40)
    estimate.learn(run(architecture="other", epochs=1), 1)
    assert estimate.seconds([run(epochs=5)]) == pytest.approx(6 * 5)  # the median of 5, 6 and 25 an epoch
    assert estimate.seconds([run(epochs=5)] * 3, jobs=2) == pytest.approx(6 * 5 * 3 / 2)
    assert estimate.seconds([run(method="new", epochs=1)]) == pytest.approx(23)  # of its architecture: 6 and 40
    assert estimate.seconds([run("third", epochs=1)]) == pytest.approx(6)  # of all


def test_finished_runs_tell_more_than_timed_steps():
    estimate = Estimate({("net", "plain"): 1.0, ("net", "slow"): 3.0})
    assert estimate.seconds([run(epochs=2), run(method="slow", epochs=2)]) == pytest.approx(8)
    estimate.learn(run(epochs=2), 10)
    assert estimate.seconds([run(epochs=2), run(method="slow", epochs=2)]) == pytest.approx(16)


def test_more_time_than_planned_is_said_once_and_small_delays_are_not(monkeypatch):
    at = 1000.0
    monkeypatch.setattr(estimates, "now", lambda: at)
    pace, short = Pace(planned=600.0, spent=100.0), Pace(planned=20.0)
    at += 300  # 400 of 600 seconds have passed
    assert pace.said(left=None) is None
    assert pace.said(left=340.0) is None  # less than a quarter more
    assert pace.said(left=400.0) == "slower than planned: about 13 min in all instead of 10 min"
    assert pace.said(left=4000.0) is None
    at -= 250
    assert short.said(left=20.0) is None  # less than a minute more
    assert short.said(left=40.0) == "slower than planned: about 2 min in all instead of 20 s"
    assert Pace(None).said(left=1e6) is None


def test_a_pipe_gets_plain_lines_with_the_time_left(capsys):
    with Board("study") as shown:
        shown.place(done=1, total=3, now=["a run"], left=100.0)
        shown.say("the first run: 3 s")
        shown.place(done=3, total=3, now=[], left=0.0)
        shown.say("the last run: 3 s")
    assert capsys.readouterr().out == "1/3, 2 min left  the first run: 3 s\n3/3  the last run: 3 s\n"


def test_nothing_is_shown_where_nothing_is_to_be_shown(capsys):
    with Board("study", show=False) as shown:
        shown.place(done=1, total=3, now=[], left=None)
        shown.say("line")
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_with_what_runs_now():
    screen = io.StringIO()
    with Board("study", console=Console(file=screen, force_terminal=True, width=110)) as shown:
        shown.place(done=2, total=9, now=["final net/plain seed 0", "final net/plain seed 1"], left=3700.0)
        shown.say("a run has ended")
    text = screen.getvalue()
    assert all(
        words in text for words in ("study", "2/9", "1 h 02 min left", "final net/plain seed 0 |", "a run has ended")
    )
