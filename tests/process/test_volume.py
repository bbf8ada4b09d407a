"""Quiet and verbose: what is said, and that nothing of it stays."""

import io
import logging

from refconv.process.progress import Display, StepDisplay
from refconv.process.volume import quiet, volume


def test_quiet_displays_say_nothing(capsys):
    with volume(quiet=True):
        with StepDisplay("title", total=3) as shown:
            shown.say("a line")
            shown.train(step=1, epoch=0.5, loss=1.0, lr=0.1, rate=3.0)
        assert not Display("title", (), error=True).terminal
    assert capsys.readouterr() == ("", "")
    assert not quiet()
    with StepDisplay("title", total=3) as shown:
        shown.say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_verbose_shows_what_libraries_log(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    library = logging.getLogger("some.library")
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    for verbose, expected in ((0, ""), (1, "some.library: info\n"), (2, "some.library: info\nsome.library: debug\n")):
        stream.seek(0)
        stream.truncate()
        with volume(verbose=verbose):
            library.info("info")
            library.debug("debug")
        assert stream.getvalue() == expected
    assert (root.level, list(root.handlers)) == before
