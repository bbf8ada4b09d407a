"""What a run says about its progress, on disk: metrics.jsonl and, if asked for, TensorBoard events.

metrics.jsonl holds one JSON object a line: ``kind`` (``start``, ``train``, ``val`` or ``test``), ``step``, ``epoch``
(with fractions), and numbers; what is not finite is null.
A checkpoint notes the file's length; a resumed run cuts the file there, so no step appears twice.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING

from refconv.models.run_folder import RunFolder, writing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Metrics:
    """The open metrics of a run; what follows the first ``length`` bytes of metrics.jsonl is cut off."""

    def __init__(self, folder: RunFolder, *, length: int = 0, step: int = 0, tensorboard: bool = False) -> None:
        self._path = folder.metrics_file
        with writing(self._path):
            self._file = self._path.open("a", encoding="utf-8")
            if self._file.tell() > length:
                self._file.truncate(length)
        self._events: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder.tensorboard_folder), purge_step=step + 1)

    def write(self, kind: str, *, step: int, epoch: float, **numbers: float | None) -> None:
        """Write one line."""
        values = {name: n if n is not None and math.isfinite(n) else None for name, n in numbers.items()}
        with writing(self._path):
            self._file.write(json.dumps({"kind": kind, "step": step, "epoch": round(epoch, 4), **values}) + "\n")
            self._file.flush()
            if self._events is not None:
                for name, value in values.items():
                    if value is not None:
                        self._events.add_scalar(f"{kind}/{name}", value, step)

    def saved_length(self) -> int:
        """Bring what was written to the disk and return the file's length, for a checkpoint."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._events is not None:
                self._events.flush()
        return self._file.tell()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *raised: object) -> None:
        with writing(self._path):
            self._file.close()
            if self._events is not None:
                self._events.close()


class NoMetrics(Metrics):
    """Metrics of the processes that do not write."""

    def __init__(self) -> None:
        pass

    def write(self, kind: str, *, step: int, epoch: float, **numbers: float | None) -> None:
        """Do nothing."""

    def saved_length(self) -> int:
        """Return zero."""
        return 0
