"""What tests of faults found, one JSON object a line, for docs/reliability.md: ``make test-faults FIGURES=1`` keeps it.

Processes of pytest add lines at the same time; of lines about the same test the last one counts.
"""

import json
import os
from pathlib import Path

import pytest

#: Names the file that lines are added to; without it nothing is kept.
VARIABLE = "REFCONV_FIGURES"


@pytest.fixture
def figures(request):
    """Return a function that says of a test: which promise it holds, how many cases it tried, how many were right."""

    def add(promise, tried, right, **more):
        if path := os.environ.get(VARIABLE):
            test = request.node.nodeid
            line = json.dumps({"promise": promise, "test": test, "tried": tried, "right": right, **more})
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(line + "\n")  # at once, since it is short

    return add
