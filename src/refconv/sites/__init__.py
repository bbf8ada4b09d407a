"""The convolution kernels of a model: where they are, what they are, which of them are meant."""

from refconv.sites.find import Site, find_sites
from refconv.sites.select import Choice, Selection, select

__all__ = ["Choice", "Selection", "Site", "find_sites", "select"]
