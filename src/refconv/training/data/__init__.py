"""Data as exact functions of seed, epoch and position: small sets in memory, large ones from disk."""

from refconv.training.data.augmentation import Augmentation
from refconv.training.data.data import Batch, Data, Samples, Split, Targets
from refconv.training.data.info import DataInfo
from refconv.training.data.opening import open_data

__all__ = ["Augmentation", "Batch", "Data", "DataInfo", "Samples", "Split", "Targets", "open_data"]
