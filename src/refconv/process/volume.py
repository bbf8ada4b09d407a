"""How much a command says: its result and errors alone, what is usual, or more."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET = ContextVar("quiet", default=False)


def quiet() -> bool:
    """Return whether only results and errors are to be said."""
    return _QUIET.get()


@contextmanager
def volume(*, quiet: bool = False, verbose: int = 0) -> Iterator[None]:
    """Say less or more in the block.

    Args:
        quiet: neither progress nor notes nor warnings.
        verbose: 1 shows on standard error what libraries log, 2 their messages for debugging as well.
    """
    token = _QUIET.set(quiet)
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    before = root.level
    if verbose:
        root.addHandler(handler)
        root.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    try:
        yield
    finally:
        _QUIET.reset(token)
        root.removeHandler(handler)
        root.setLevel(before)
