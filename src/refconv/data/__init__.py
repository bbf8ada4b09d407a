"""Data as exact functions of seed, epoch and position: small sets in memory, large ones from disk."""

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Batch, Data, DataInfo, Samples, Split, Targets
from refconv.data.opening import open_data

__all__ = ["Augmentation", "Batch", "Data", "DataInfo", "Samples", "Split", "Targets", "open_data"]
