"""A process for every model, a few at a time: none that crashes, hangs or eats memory ends the walk."""

from __future__ import annotations

import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from architectures.names import Name
from refconv.records import Record

Work = Callable[[Name], Record]


@dataclass(frozen=True)
class Limits:
    """What one model may use: seconds, and bytes of memory that it allocates."""

    seconds: float
    memory: int


@dataclass
class _Running:
    process: BaseProcess
    answer: Connection
    name: Name
    deadline: float


def each(work: Work, names: Iterable[Name], jobs: int, limits: Limits) -> Iterator[dict[str, Any]]:
    """Do some work for every name in processes of their own, and yield the records as they come.

    A name whose work fails yields ``{"library", "name", "error"}`` instead.

    Args:
        work: a function of a module, so that another process can find it.
        names: the model names, in the order in which they are begun.
        jobs: processes at a time.
        limits: of one process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["timm", "torchvision", "refconv.surgery"])  # they load once, not in every process
    waiting, running = iter(names), list[_Running]()
    while True:
        while len(running) < jobs and (name := next(waiting, None)) is not None:
            running.append(_start(context, work, name, limits))
        if not running:
            return
        timeout = max(0.0, min(one.deadline for one in running) - time.monotonic())
        ready = wait([one.answer for one in running], timeout)
        for one in [one for one in running if one.answer in ready or one.deadline <= time.monotonic()]:
            running.remove(one)
            yield {"library": one.name.library, "name": one.name.name} | _finish(one, limits)


def _start(context: Any, work: Work, name: Name, limits: Limits) -> _Running:
    answer, other_end = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(other_end, work, name, limits.memory), daemon=True)
    process.start()
    other_end.close()
    return _Running(process, answer, name, time.monotonic() + limits.seconds)


def _finish(one: _Running, limits: Limits) -> dict[str, Any]:
    if not one.answer.poll():
        one.process.kill()
        result = {"error": f"not done after {limits.seconds:g} s"}
    else:
        try:
            result = one.answer.recv()
        except EOFError:
            one.process.join()
            result = {"error": f"the process ended with status {one.process.exitcode}"}
    one.process.join()
    one.answer.close()
    return result


def _answer(answer: Connection, work: Work, name: Name, memory: int) -> None:
    """Run in the process of one model."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        answer.send(work(name).to_dict())
    except Exception as error:  # whatever a model fails with is the result of its trial; then the process ends
        cause = error.__cause__ or error
        answer.send({"error": f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]})
        raise
