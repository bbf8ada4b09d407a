"""Runs as jobs of a Slurm cluster, by submitit, which is imported where it is used."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refconv.errors import RunError
from refconv.studies.outcome import Outcome
from refconv.studies.remote import Errand, RemoteExecutor

_CLUSTER = "slurm"
_REQUEUES = 1000  #: How often a job that reaches its time limit is queued again
#: States of Slurm in which a job ends without its own doing
_LOST = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT", "DEADLINE", "REVOKED", "UNKNOWN", "INTERRUPTED"}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What each job asks for."""

    cpus: int
    gpus: int
    memory: float | None  # GB
    minutes: int
    partition: str | None
    other: Mapping[str, Any]  # further options of sbatch


class SlurmExecutor(RemoteExecutor):
    """Gives runs to jobs; runs that can start together become one job array, and ``jobs`` of them run at a time."""

    def __init__(self, wanted: Resources, jobs: int, threads: int, keep: str, folder: Path) -> None:
        import submitit

        super().__init__(threads, keep)
        self._jobs = jobs
        more: dict[str, Any] = {"slurm_partition": wanted.partition, "mem_gb": wanted.memory}
        more["gpus_per_node"] = wanted.gpus or None
        try:
            limits = {"slurm_max_num_timeout": _REQUEUES} if _CLUSTER == "slurm" else {}
            self._executor = submitit.AutoExecutor(folder.absolute(), cluster=_CLUSTER, **limits)
        except RuntimeError as error:
            raise RunError(
                "no Slurm here", where="executor", expected="the programs srun and sbatch",
                remedy="give the command where jobs are submitted from",
            ) from error  # fmt: skip
        self._executor.update_parameters(
            name="refconv",
            timeout_min=wanted.minutes,
            cpus_per_task=wanted.cpus,
            slurm_array_parallelism=jobs,
            slurm_additional_parameters=dict(wanted.other),
            **{name: value for name, value in more.items() if value is not None},
        )

    @property
    def slots(self) -> int:
        """Runs at a time."""
        return self._jobs

    def submit(self, errands: Sequence[Errand]) -> list[Any]:
        """Submit a job, or an array of several."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with self._executor.batch():
                return [self._executor.submit(errand) for errand in errands]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            found = str(error).strip().splitlines()[-1]
            raise RunError("sbatch did not take the jobs", where="executor", found=found) from error

    def ended(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Look until a job has ended, for so many seconds at most; return all that have."""
        until = time.monotonic() + seconds
        while not (found := [job for job in handles if job.done()]) and time.monotonic() < until:
            time.sleep(min(0.5, seconds))
        return found

    def outcome(self, handle: Any) -> Outcome:
        """Return what the job returned, or what Slurm says of it."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            found: Outcome = handle.result()
        except (FailedJobError, UncompletedJobError) as error:
            state = str(handle.state).partition(" ")[0]
            if isinstance(error, UncompletedJobError):
                words = f"job {handle.job_id} ended as {state}; its log is {handle.paths.stderr}"
                return Outcome("stopped" if state in _LOST else "failed", words)
            return Outcome("failed", f"job {handle.job_id} failed; its log is {handle.paths.stderr}")
        return found

    def cancel(self, handle: Any) -> None:
        """Cancel a job."""
        handle.cancel(check=False)
