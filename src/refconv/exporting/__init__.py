"""Networks as files for other runtimes: written, run there, and compared with the network that they were made of."""

from refconv.exporting.config import ExportConfig
from refconv.exporting.exporting import export, export_model_folder
from refconv.exporting.hub import HubConfig
from refconv.exporting.record import Accuracy, ExportRecord
from refconv.exporting.timing import BenchRecord, Timing

__all__ = [
    "Accuracy",
    "BenchRecord",
    "ExportConfig",
    "ExportRecord",
    "HubConfig",
    "Timing",
    "export",
    "export_model_folder",
]
