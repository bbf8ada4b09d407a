"""Runs as tasks of a Ray cluster. Ray is imported where it is used, since few have it installed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from refconv.errors import RunError, SettingError
from refconv.studies.outcome import Outcome
from refconv.studies.remote import Errand, RemoteExecutor


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What each run gets of a cluster."""

    cpus: float
    gpus: float | None
    memory: float | None  # GB
    address: str | None


class RayExecutor(RemoteExecutor):
    """Gives each run to a task; ``jobs`` at a time, by default as many as the cluster has room for at the moment."""

    def __init__(self, wanted: Resources, jobs: int | None, threads: int, keep: str) -> None:
        import ray

        super().__init__(threads, keep)
        self._jobs, self._wanted = jobs, wanted
        connect(wanted)
        memory = None if wanted.memory is None else wanted.memory * 1e9
        self._task = ray.remote(max_retries=0)(_carry).options(
            num_cpus=wanted.cpus, num_gpus=_gpus(wanted), memory=memory, name="refconv"
        )

    @property
    def slots(self) -> int:
        """Runs at a time; one while there is no machine, for which it waits."""
        return self._jobs or max(1, room(self._wanted))

    def submit(self, errands: Sequence[Errand]) -> list[Any]:
        """Give each run to a task."""
        return [self._task.remote(errand) for errand in errands]

    def ended(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for a task at most so many seconds, and return all that have ended."""
        import ray

        if not handles:
            return []
        ready, _ = ray.wait(list(handles), timeout=seconds)
        return ray.wait(list(handles), num_returns=len(handles), timeout=0)[0] if ready else []

    def outcome(self, handle: Any) -> Outcome:
        """Return what the task returned; the process of a run is not the task's own, so only machines can be lost."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            found: Outcome = ray.get(handle)
        except RayTaskError as error:
            return Outcome("failed", str(error).strip().splitlines()[-1])
        except RayError as error:
            return Outcome("stopped", str(error).strip().partition("\n")[0])
        return found

    def cancel(self, handle: Any) -> None:
        """Cancel a task."""
        import ray

        ray.cancel(handle, force=True)


def _carry(errand: Errand) -> Outcome:
    return errand()


def connect(wanted: Resources) -> None:
    """Connect to the cluster of the address, of RAY_ADDRESS, or one of this machine; if that has not been done."""
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    address = wanted.address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        found = str(error).strip().partition("\n")[0]
        raise RunError("no Ray cluster there", where=address, found=found, remedy="start one with ray start") from error


def room(wanted: Resources) -> int:
    """Return how many runs the machines of the cluster have room for."""
    needs = {"CPU": wanted.cpus, "GPU": _gpus(wanted), "memory": (wanted.memory or 0.0) * 1e9}
    return sum(
        int(min(resources.get(name, 0.0) / need + 1e-9 for name, need in needs.items() if need))
        for resources in _machines()
    )


def check_room(wanted: Resources) -> int:
    """Return the same, and refuse a cluster without room for a run."""
    if found := room(wanted):
        return found
    wishes = {"cpus": ("CPU", wanted.cpus, 1.0), "gpus": ("GPU", _gpus(wanted), 1.0)}
    if wanted.memory is not None:
        wishes["memory"] = "memory", wanted.memory, 1e9
    has = "; ".join(
        ", ".join(f"{word}={machine.get(name, 0.0) / unit:g}" for word, (name, _, unit) in wishes.items())
        for machine in _machines()
    )
    raise SettingError(
        "no machine of the Ray cluster has room for a run",
        where="executor_options",
        expected=", ".join(f"{word}={wish:g}" for word, (_, wish, _) in wishes.items()),
        found=has or "no machine",
        remedy="ask for less, or give --jobs to wait for other machines",
    )


def _gpus(wanted: Resources) -> float:
    """Return the GPUs of each run: by default one, in a cluster that has any."""
    if wanted.gpus is not None:
        return wanted.gpus
    return float(any(resources.get("GPU") for resources in _machines()))


def _machines() -> list[dict[str, float]]:
    """Return what each machine of the cluster has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
