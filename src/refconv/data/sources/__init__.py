"""The data sets kept in memory, by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable

from refconv.data.memory import Source
from refconv.data.sources.digits import open_digits
from refconv.data.sources.fashion_mnist import open_fashion_mnist
from refconv.data.sources.mnist1d import open_mnist1d

# Each takes the folder that the user gave, or None.
SOURCES: dict[str, Callable[[str | None], Source]] = {
    "digits": open_digits,
    "fashion-mnist": open_fashion_mnist,
    "mnist1d": open_mnist1d,
}
