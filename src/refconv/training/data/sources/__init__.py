"""The data sets kept in memory, by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable

from refconv.training.data.memory import Source
from refconv.training.data.sources.digits import digits
from refconv.training.data.sources.fashion_mnist import fashion_mnist
from refconv.training.data.sources.mnist1d import mnist1d

# Each takes the folder that the user gave, or None.
SOURCES: dict[str, Callable[[str | None], Source]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "mnist1d": mnist1d,
}
