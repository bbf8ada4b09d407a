"""What every test has in common: a run draws the same numbers as every other run, in whatever order tests come.

Hypothesis derives its examples from the test itself (the profile ``default``), and the generators of torch, numpy and
random start from one seed before every test and before every fixture that several tests share. ``make explore``
draws anew: it runs the tests of drawn examples under the profile ``explore``, from a seed that it prints.

What an environment says of colours and widths of terminals is not heard, here or in the processes that tests start.
Nor is it heard that SIGINT is to be ignored, as a shell says to what it starts in the background: Ctrl-C is tested.

Torch and numpy are imported where they are used: the process that hands tests to the workers of pytest-xdist is quick.
"""

import os
import random
import signal

import pytest
from hypothesis import settings

import ready_processes
from faults.figures import figures, pytest_terminal_summary  # noqa: F401  # for every test, and after the last
from refconv.named_code import trusting

settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, database=None, deadline=None, print_blob=True)
settings.load_profile("default")

# typer and rich read these, some of them when they are imported; GITHUB_ACTIONS counts as a terminal with colours
for variable in (
    "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LINES", "NO_COLOR", "PY_COLORS",
    "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
):  # fmt: skip
    os.environ.pop(variable, None)


def start_generators(config):
    """Start every generator that tests draw from: at 0, or where ``make explore`` says."""
    import numpy as np
    import torch

    if not torch.accelerator.is_available():  # for which torch would keep each seed, with the stack as text: 3 ms
        torch.manual_seed = lambda seed: torch.default_generator.manual_seed(int(seed))
    seed = int(config.getoption("hypothesis_seed", default=None) or 0)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def named_in_this_test():
    """Let what a test names, or trusts, be unknown to the others."""
    with trusting(False):
        yield


@pytest.fixture
def one_thread():
    """Let torch compute on one thread: the order of its sums depends on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_configure(config):
    """Let all workers of pytest-xdist ask the same process for others."""
    if config.getoption("numprocesses", None):
        ready_processes.start()


def pytest_ignore_collect(collection_path):
    """Look for tests in files of tests alone: what they share has no examples, and is imported where it is used."""
    return True if collection_path.suffix == ".py" and not collection_path.name.startswith("test_") else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    start_generators(item.config)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """A fixture that several tests share is made by whichever comes first: neither may notice which one it is."""
    if fixturedef.scope == "function":
        return (yield)
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    start_generators(request.config)
    try:
        return (yield)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
