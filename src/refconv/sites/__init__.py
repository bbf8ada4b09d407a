"""The convolution kernels of a model: where they are, what they are, which of them are meant, which are refused."""

from refconv.config import Selection
from refconv.sites.find import Site, find_sites
from refconv.sites.guard import admitted, check_base, check_shared
from refconv.sites.selection import Choice, select, select_trained

__all__ = [
    "Choice",
    "Selection",
    "Site",
    "admitted",
    "check_base",
    "check_shared",
    "find_sites",
    "select",
    "select_trained",
]
