"""Progress of an analysis: a line a measure in a pipe, a bar with the time left in a terminal; always on stderr."""

import io

from rich.console import Console

from refconv.training.analyses.measuring import Bar, Lines, display


def test_a_pipe_gets_a_line_for_each_measure(capsys):
    shown = display("refocus")
    assert isinstance(shown, Lines)
    with shown:
        shown.say("images: RGB")
        shown.begin("attacks", 3, 22)
        shown.progress(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "refocus: images: RGB\nrefocus: measuring attacks ... (3 of 22)\n")
    Lines().begin("attacks", 3, 22)
    assert capsys.readouterr().err.startswith("measuring attacks")


def test_a_terminal_gets_a_bar_of_the_measure_that_runs(monkeypatch):
    screen = io.StringIO()
    bar = Bar("refocus", Console(file=screen, force_terminal=True, width=100))
    with bar as shown:
        shown.progress(1, 2)  # before anything has begun
        shown.say("images: [RGB]")
        for number, name in enumerate(("attacks", "shifts"), 20):
            shown.begin(name, number, 22)
            shown.progress(50, 100)
            shown.progress(100, 100)
            shown.progress(7, 0)
        assert [task.description for task in bar._progress.tasks] == ["refocus: measuring shifts"]
        assert bar._progress.tasks[0].fields["place"] == "21 of 22"
    assert "refocus: images: [RGB]" in screen.getvalue()
    assert "refocus: measuring" in screen.getvalue()


def test_the_display_is_a_bar_where_standard_error_is_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(display(), Bar)
