"""Progress of an analysis: a line a measure in a pipe, a bar with the time left in a terminal; always on stderr."""

import io

import pytest
from rich.console import Console

from refconv.analysis.analysing import Display, announced


def test_a_pipe_gets_a_line_for_each_measure(capsys):
    with Display("refocus") as shown:
        shown.say("images: RGB")
        shown.begin("attacks", 3, 22)
        shown.progress(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "refocus: images: RGB\nrefocus: measuring attacks ... (3 of 22)\n")
    Display().begin("attacks", 3, 22)
    assert capsys.readouterr().err.startswith("measuring attacks")


def test_a_terminal_gets_a_bar_of_the_measure_that_runs(monkeypatch):
    screen = io.StringIO()
    bar = Display("refocus", console=Console(file=screen, force_terminal=True, width=100))
    with bar as shown:
        shown.progress(1, 2)  # before anything has begun
        shown.say("images: [RGB]")
        for number, name in enumerate(("attacks", "shifts"), 20):
            shown.begin(name, number, 22)
            shown.progress(50, 100)
            shown.progress(100, 100)
            shown.progress(7, 0)
        assert [task.description for task in bar.bar.tasks] == ["refocus: measuring shifts"]
        assert bar.bar.tasks[0].fields["place"] == "left, 21 of 22"
    assert "refocus: images: [RGB]" in screen.getvalue()
    assert "refocus: measuring" in screen.getvalue()


def test_the_display_is_a_bar_where_standard_error_is_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert Display().terminal


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((22, 12, 360.0), "22 measures, 12 of them on data: about 6 minutes, or what the fewest samples take"),
        ((3, 2, 10.0), "3 measures, 2 of them on data: about 10 seconds, or what the fewest samples take"),
        ((3, 2, None), "3 measures, 2 of them on data, for which no time limit is set"),
        ((3, 0, 30.0), "3 measures of the weights"),
    ],
)
def test_what_is_to_be_measured_and_how_long_it_takes_is_said_before(given, words):
    assert announced(*given) == words
