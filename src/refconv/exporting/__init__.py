"""Networks as files for other runtimes: written, run there, and compared with the network that they were made of."""

from refconv.exporting.config import FORMATS, ExportConfig
from refconv.exporting.exporting import Evidence, export, export_model_folder, export_opened
from refconv.exporting.record import Accuracy, ExportRecord
from refconv.exporting.timing import BenchRecord, Timing, bench

__all__ = [
    "FORMATS", "Accuracy", "BenchRecord", "Evidence", "ExportConfig", "ExportRecord", "Timing", "bench", "export",
    "export_model_folder", "export_opened",
]  # fmt: skip
