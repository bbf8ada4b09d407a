"""Where the runs of a study or an improvement are executed: this machine, a Ray cluster, or Slurm."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from refconv.errors import SettingError, did_you_mean
from refconv.studies import on_ray, on_slurm
from refconv.studies.local import ProcessExecutor, SerialExecutor, visible_devices
from refconv.studies.outcome import Outcome
from refconv.studies.runs import Run

_PACKAGES = {"local": None, "ray": "ray", "slurm": "submitit"}
_SLURM_JOBS = 16
_DEFAULTS: dict[str, dict[str, Any]] = {
    "local": {},
    "ray": {"cpus": 1.0, "gpus": None, "memory": None, "address": None},
    "slurm": {"cpus": 1, "gpus": 0, "memory": None, "time": "4h", "partition": None},
}


class Executor(Protocol):
    """Executes runs, several at a time, while it is entered; leaving it stops what still runs, with checkpoints."""

    @property
    def slots(self) -> int:
        """Runs at a time, as far as is known now."""

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""

    def start(self, run: Run) -> None:
        """Take a run, where there is a slot for it."""

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Wait for so many seconds at most, or for a run of this process; return the runs that ended."""

    def __enter__(self) -> object: ...
    def __exit__(self, *raised: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where runs are executed and how many at a time; results do not depend on it.

    Attributes:
        executor: ``local`` (processes of this machine), ``ray`` (tasks of a Ray cluster) or ``slurm`` (its jobs).
        executor_options: what each run gets: ``cpus``, ``gpus`` (with Ray also a part of one) and ``memory`` in GB;
            with Ray the ``address`` of the cluster; with Slurm ``time``, ``partition`` and other options of sbatch.
        jobs: runs at a time. By default one for each CUDA device, or one; with Ray as many as the cluster has room for,
            with Slurm 16.
        threads: of torch in each run; by default the threads that torch would use, divided by the number of jobs; with
            Ray and Slurm the CPUs of the run.

    Raises:
        SettingError: if executor or options are unknown, have no meaning, or a package is missing.
    """

    executor: str = "local"
    executor_options: Mapping[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.executor not in _PACKAGES:
            raise SettingError(
                "unknown", where="executor", expected=" or ".join(_PACKAGES), found=repr(self.executor),
                remedy=did_you_mean(self.executor, _PACKAGES),
            )  # fmt: skip
        package = _PACKAGES[self.executor]
        if package is not None and importlib.util.find_spec(package) is None:
            remedy = f"pip install 'refconv[{self.executor}]'"
            raise SettingError(f"{self.executor} needs the package {package}", where="executor", remedy=remedy)
        self._wanted()

    def sharing(self) -> tuple[int, int]:
        """Return how many runs there are at a time, and on how many threads each."""
        if self.executor == "local":
            import torch

            jobs = self.jobs or max(1, len(visible_devices()))
            return jobs, self.threads or max(1, torch.get_num_threads() // jobs)
        wanted = self._wanted()
        jobs = self.jobs or _SLURM_JOBS
        if self.executor == "ray" and self.jobs is None:
            on_ray.connect(wanted)
            jobs = on_ray.check_room(wanted)
        return jobs, self.threads or max(1, int(wanted.cpus))

    def opened(self, keep: str, out: Path) -> Executor:
        """Return what executes the runs below the folder ``out``; ``keep`` as in :class:`refconv.studies.Study`."""
        jobs, threads = self.sharing()
        if self.executor == "ray":
            return on_ray.RayExecutor(self._wanted(), self.jobs, threads, keep)
        if self.executor == "slurm":
            return on_slurm.SlurmExecutor(self._wanted(), jobs, threads, keep, out / "slurm")
        return SerialExecutor(keep) if jobs == 1 else ProcessExecutor(jobs, threads, keep, visible_devices())

    def _wanted(self) -> Any:
        """Return the options as what the executor takes."""
        known, given = _DEFAULTS[self.executor], dict(self.executor_options)
        unknown = [name for name in given if name not in known]
        if unknown and self.executor != "slurm":
            raise SettingError(
                f"unknown option of {self.executor}", where="executor_options", expected=", ".join(known) or "none",
                found=unknown[0], remedy=did_you_mean(unknown[0], known),
            )  # fmt: skip
        values = {**known, **given}
        for name in ("cpus", "gpus", "memory"):
            if values.get(name) is not None:
                _check_amount(name, values[name], whole=self.executor == "slurm" and name != "memory")
        if values.get("gpus") is not None and values["gpus"] > 1:
            raise SettingError("a run uses one GPU", where="executor_options: gpus", found=str(values["gpus"]))
        if self.executor == "ray":
            return on_ray.Resources(**values)
        if self.executor == "slurm":
            other = {name.replace("_", "-"): given[name] for name in unknown}
            limit = _minutes(str(values.pop("time")))
            return on_slurm.Resources(
                **{name: values[name] for name in known if name != "time"}, minutes=limit, other=other
            )
        return None


def _check_amount(name: str, value: Any, *, whole: bool) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not number or (value == 0 and name != "gpus") or (whole and value != int(value)):
        expected = ("a whole number" if whole else "a number") + ("" if name == "gpus" else " above 0")
        raise SettingError("not possible", where=f"executor_options: {name}", expected=expected, found=repr(value))


def _minutes(text: str) -> int:
    """Return the minutes of a time limit: in words, such as ``90min`` or ``8h``, or as Slurm writes it."""
    minutes = 0.0
    if word := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|m|h|d|)", text.strip()):
        minutes = float(word[1]) * {"h": 60, "d": 1440}.get(word[2], 1)
    elif parts := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip()):
        days, *rest = (int(part or 0) for part in parts.groups())
        # Slurm: days-hours:minutes:seconds, or without days hours:minutes:seconds, or minutes:seconds
        first, second, third = rest
        hours = parts[1] is not None or parts[4] is not None
        seconds = first * 3600 + second * 60 + third if hours else first * 60 + second
        minutes = days * 1440 + seconds / 60
    if minutes <= 0:
        expected = "minutes, 90min, 8h, 2d, or as Slurm writes it"
        raise SettingError("no time limit", where="executor_options: time", expected=expected, found=repr(text))
    return max(1, round(minutes))
