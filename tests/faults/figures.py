"""What tests of faults found, one JSON object a line, for docs/reliability.md: ``make test-faults FIGURES=1`` keeps it.

Processes of pytest add lines at the same time; of lines about the same test the last one counts.
"""

import json
import os
import time
from pathlib import Path

import pytest

#: Names the file that lines are added to; without it nothing is kept.
VARIABLE = "REFCONV_FIGURES"


_BEGUN = time.monotonic()


def _keep(promise, test, tried, right, **more):
    if path := os.environ.get(VARIABLE):
        line = json.dumps({"promise": promise, "test": test, "tried": tried, "right": right, **more})
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")  # at once, since it is short


@pytest.fixture
def figures(request):
    """Return a function that says of a test: which promise it holds, how many cases it tried, how many were right."""

    def add(promise, tried, right, **more):
        _keep(promise, request.node.nodeid, tried, right, **more)

    return add


def pytest_terminal_summary(terminalreporter):
    """Keep how many tests the whole tier has, how many passed, and how long it took; a worker knows its own alone."""
    config = terminalreporter.config
    if (config.getoption("markexpr"), config.args) != ("faults", ["tests"]) or hasattr(config, "workerinput"):
        return
    passed, skipped, failed, broken = (
        len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "skipped", "failed", "error")
    )
    minutes = round((time.monotonic() - _BEGUN) / 60, 1)
    _keep("the whole tier", "make test-faults", passed + failed + broken, passed, skipped=skipped, minutes=minutes)
