"""A study that takes seconds, and comparisons made by hand."""

import copy
import multiprocessing
import os
from pathlib import Path

import tomli_w

from refconv.models.networks import mobilenet_small
from refconv.models.run_folder import RunFolder
from refconv.studies import Comparison, read_study
from refconv.studies.comparison import BaseResult, CellResult
from refconv.studies.statistics import t_interval

TINY = {
    "study": {
        "name": "tiny", "description": "Smoke.", "seeds": 2, "selection_seeds": 1, "samples": 1000, "val_split": 0.2,
    },
    "recipe": {"data": "digits", "batch_size": 128, "device": "cpu", "workers": 0, "log_interval": 1000},
    "base": {"samples": 2000, "lr": 0.1},
    "grid": {"lr": [0.01, 0.05]},
    "architectures": {
        "mobilenet": {"model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}},
    },
    "methods": {"plain": {}, "refocus": {}},
}  # fmt: skip


def changed(**tables):
    """Return the tiny study's content with entries of its tables replaced; None takes an entry or a table away."""
    content = copy.deepcopy(TINY)
    for name, entries in tables.items():
        if entries is None:
            content.pop(name)
            continue
        for key, value in entries.items():
            if value is None:
                content[name].pop(key)
            else:
                content.setdefault(name, {})[key] = value
    return content


def write(folder, content):
    """Write a study and return the file."""
    path = Path(folder) / "study.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def study(folder, **tables):
    """Return a tiny study with entries replaced."""
    return read_study(write(folder, changed(**tables)))


def folders(out):
    """Return the run folders below a study's folder, by their path in it."""
    found = sorted(path.parent for path in Path(out).rglob("record.json"))
    return {str(path.relative_to(out)): RunFolder(path) for path in found}


def comparison(values, *, reference="plain", measures=("top1", "loss"), test_samples=None, **changes):
    """Return a comparison of cells {(architecture, method): {measure: values}} with the contrasts of the library."""
    from refconv.studies.summary import contrast_all

    cells = tuple(
        CellResult(
            architecture=a, method=m, point={"lr": 0.1}, edges=(), tried=(), values=found,
            intervals={name: t_interval(some) for name, some in found.items()}, parameters_trained=100,
            parameters_shipped=100, samples_seen=1000, step_ms=1.0, step_ratio=1.0, peak_memory_mb=None,
            test_samples=test_samples,
        )
        for (a, m), found in values.items()
    )  # fmt: skip
    count = len(next(iter(next(iter(values.values())).values())))
    fields = {
        "name": "by hand", "description": "", "reference": reference, "select_by": "loss",
        "seeds": tuple(range(count)), "selection_seeds": (1000, 1001), "measures": measures,
        "bases": (BaseResult("net", 5000, {"top1": (0.9,), "loss": (0.3,)}),), "cells": cells,
        "contrasts": contrast_all(cells, reference, measures), "missing": {}, "data": ("digits: 10 samples",),
        "runs": 7, "seconds": 100.0, "hardware": ("a machine",), "versions": {"python": "3.11"},
        "command": "refconv compare x", "study": "",
    }  # fmt: skip
    return Comparison(**{**fields, **changes})


def dies(**arguments):
    """Build a model in the process that runs the tests, and end any other."""
    if multiprocessing.parent_process() is not None:
        os._exit(7)
    return mobilenet_small(**arguments)


def noted(**arguments):
    """Build a model, and note the process in a folder of the working directory."""
    Path("processes", str(os.getpid())).touch()
    return mobilenet_small(**arguments)
