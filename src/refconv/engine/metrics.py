"""What a run says about its progress: metrics.jsonl in its folder, and the loggers of its recipe.

metrics.jsonl holds one JSON object a line: ``kind`` (``start``, ``train``, ``val`` or ``test``), ``step``, ``epoch``
(with fractions), and numbers; what is not finite is null.
A checkpoint notes the file's length; a resumed run cuts the file there, so no step appears twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

from refconv.engine.loggers.several import Loggers
from refconv.errors import RefconvWarning, RunError
from refconv.models.run_folder import RunFolder, writing


class Metrics:
    """The open metrics of a run; what follows the first ``length`` bytes of metrics.jsonl is cut off.

    It is said if these are not the bytes that were written, whose :meth:`hash` was ``written``.
    """

    def __init__(
        self, folder: RunFolder, *, length: int = 0, written: str | None = None, loggers: Loggers | None = None
    ) -> None:
        self._path, self._loggers = folder.metrics_file, loggers
        with writing(self._path):
            self._file = self._path.open("a", encoding="utf-8")
            if self._file.tell() > length:
                self._file.truncate(length)
            self._hashed = hashlib.sha256(self._path.read_bytes())
        if written not in {None, self.hash()}:
            message = "was changed or removed since the checkpoint: the curves of this run have a gap or a mistake"
            warnings.warn(f"{self._path}: {message}", RefconvWarning, stacklevel=2)

    def write(self, kind: str, *, step: int, epoch: float, **numbers: float | None) -> None:
        """Write one line."""
        values = {name: n if n is not None and math.isfinite(n) else None for name, n in numbers.items()}
        with writing(self._path):
            if not self._path.exists():
                self._begin_anew()
            line = json.dumps({"kind": kind, "step": step, "epoch": round(epoch, 4), **values}) + "\n"
            self._file.write(line)
            self._file.flush()
        self._hashed.update(line.encode())
        if self._loggers is not None:
            finite = {name: value for name, value in values.items() if value is not None}
            self._loggers.metrics(kind, step=step, epoch=epoch, values=finite)

    def _begin_anew(self) -> None:
        """Go on in a new file where the one that is open was removed, so that later lines are not lost with it."""
        anew = self._path.open("a", encoding="utf-8")  # before the other is closed: the folder may be gone too
        self._file.close()
        self._file, self._hashed = anew, hashlib.sha256()
        message = "was removed while the run trains: the curves of this run begin here"
        warnings.warn(f"{self._path}: {message}", RefconvWarning, stacklevel=3)

    def hash(self) -> str:
        """Return the SHA-256 of what metrics.jsonl holds, for a checkpoint."""
        return self._hashed.hexdigest()

    def record(self, record: Mapping[str, Any]) -> None:
        """Tell the loggers the record of the finished run."""
        if self._loggers is not None:
            self._loggers.record(record)

    def saved_length(self) -> int:
        """Bring what was written to the disk and return the file's length, for a checkpoint."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._loggers is not None:
            self._loggers.flush()
        return self._file.tell()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._loggers is not None:
            self._loggers.close(finished=raised[0] is None)
        try:
            with writing(self._path):
                self._file.close()
        except RunError:
            if raised[0] is None:  # else the first failure is the one to tell
                raise


class NoMetrics(Metrics):
    """Metrics of the processes that do not write."""

    def __init__(self) -> None:
        pass

    def write(self, kind: str, *, step: int, epoch: float, **numbers: float | None) -> None:
        """Do nothing."""

    def record(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""

    def saved_length(self) -> int:
        """Return zero."""
        return 0
