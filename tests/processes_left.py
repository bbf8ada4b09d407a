"""The processes that a command has started, by a mark that each inherits."""

import time
from pathlib import Path

MARK = "REFCONV_TEST_FOLDER"
"""In the environment of every process that a command starts, in whatever session or by whatever way it was started."""


def processes_of(folder):
    """Return the processes with the mark of a folder."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = environment.read_bytes()
        except OSError:
            continue
        if f"{MARK}={folder}".encode() in words.split(b"\0"):
            found.append(int(environment.parent.name))
    return found


def left_after(folder, seconds=120):
    """Return those that are still there when they have had time to end."""
    deadline = time.monotonic() + seconds
    while (found := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
