"""The demo: a small network on the digits, then further training of it: plain, and refocused in either space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from refconv.engine.loop import train
from refconv.engine.run_record import RunRecord
from refconv.engine.stepping import medians, step_seconds
from refconv.models.creation import restore
from refconv.models.opening import open_model
from refconv.models.run_folder import RunFolder
from refconv.recipe.recipe import Recipe
from refconv.records import Record
from refconv.surgery import Certificate, verify
from refconv.tasks.model_data import data_for, first_samples

EPOCHS = 60
"""Epochs of the base, and of each run that continues from it."""

RUNS = {
    "base": "base",
    "plain": "base + plain training",
    "refocus": "base + refocused, kernel space",
    "gradient": "base + refocused, gradient space",
}

HEADER = ("", "epochs", "top-1, %", "parameters trained", "parameters shipped", "training step, ms")
"""Titles of the table's columns."""


@dataclass(frozen=True)
class DemoRow(Record):
    """One run of the demo."""

    title: str
    top1: float  # on the test images
    epochs: int  # those of the base included
    parameters_trained: int  # without a frozen base
    parameters_shipped: int
    step_ms: float  # median


@dataclass(frozen=True)
class DemoRecord(Record):
    """What the demo measured; ``markdown`` shows it."""

    rows: tuple[DemoRow, ...]  # in the order of RUNS
    test_images: int
    certificate: str  # compares the refocused network in training with the plain one written to disk
    certified: bool  # structure and outputs are the same
    seconds: float  # of training, in all
    hardware: str
    versions: dict[str, str]


def recipes(out: Path, epochs: int = EPOCHS) -> dict[str, Recipe]:
    """Return the recipe of each run; they differ in the method and in nothing else."""
    common = {
        "model": "refconv.models.networks:mobilenet_small",
        "data": "digits",
        "epochs": epochs,
        "batch_size": 64,
        "warmup_epochs": min(2, epochs),
        "pad_crop": 1,
        "device": "cpu",
        "workers": 0,
        "log_interval": 10 * 22,  # every ten epochs
    }
    further = {**common, "checkpoint": str(out / "base"), "lr": 0.05}
    return {
        "base": Recipe.from_mapping({**common, "lr": 0.1}),
        "plain": Recipe.from_mapping({**further, "method": "plain"}),
        "refocus": Recipe.from_mapping({**further, "method": "refocus", "space": "kernel"}),
        "gradient": Recipe.from_mapping({**further, "method": "refocus", "space": "gradient"}),
    }


def demo(out: Path, *, epochs: int = EPOCHS, show: bool = True, say: Callable[[str], None] = print) -> DemoRecord:
    """Train a base, continue it plainly and refocused with the same budget, merge and certify; keep finished runs."""
    records: dict[str, RunRecord] = {}
    with _one_thread():
        for number, (name, recipe) in enumerate(recipes(out, epochs).items(), 1):
            folder = RunFolder(out / name)
            kept = " is finished, kept" if folder.record_file.is_file() else ""
            say(f"{number}/{len(RUNS)} {RUNS[name]}: {folder.path}{kept}")
            records[name] = train(recipe, folder.path, resume=folder.checkpoint_file.is_file(), show=show)
        say(f"merged and certified: {out / 'refocus' / 'model'}")
        certificate, images = _certify(out / "refocus")
        step_s = medians(step_seconds(recipes(out, epochs), 60))
    record = DemoRecord(
        rows=tuple(_row(name, run, epochs, 1000 * step_s[name]) for name, run in records.items()),
        test_images=images,
        certificate=str(certificate),
        certified=certificate.same_structure and bool(certificate.same_outputs),
        seconds=sum(run.seconds for run in records.values()),
        hardware=records["refocus"].hardware,
        versions=records["refocus"].versions,
    )
    record.write(out / "demo.json")
    return record


def _certify(run: Path) -> tuple[Certificate, int]:
    """Compare the network in training with the plain one on disk, on all test images; return their number too."""
    written = open_model(str(run))
    data = data_for(written)
    images = data.info.test_size
    trained = restore(run / "checkpoint.pt").model
    return verify(trained, written.model, first_samples(data, images)), images


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for so small a network more of them cost time, much of it where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def markdown(record: DemoRecord) -> str:
    """Return the table, its caption and the certificate as Markdown."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *(cells(row) for row in record.rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{caption(record)}\n\n```\n{record.certificate}\n```"


def cells(row: DemoRow) -> tuple[str, ...]:
    """Return one row of the table as text."""
    parameters = f"{row.parameters_trained:,}", f"{row.parameters_shipped:,}"
    return row.title, str(row.epochs), f"{100 * row.top1:.2f}", *parameters, f"{row.step_ms:.1f}"


def caption(record: DemoRecord) -> str:
    """Return what the table shows and what it does not show."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f"One seed and {record.test_images} test images, of which each counts {100 / record.test_images:.2f} points: "
        "this shows the steps and their cost, and proves nothing about accuracy. All continuations start from the "
        "same base and see the same images in the same order. The two spaces are the same method: they differ in "
        "what a step costs, and by rounding, which training amplifies. The certificate compares the network "
        "refocused in kernel space, as trained, with the plain one written to disk. Steps were timed in turn. "
        f"{record.hardware}; {versions}; {record.seconds:.0f} s of training in all."
    )


def _row(name: str, run: RunRecord, epochs: int, step_ms: float) -> DemoRow:
    assert run.top1 is not None  # the digits have a test split
    parameters = run.parameters_trained, run.parameters_shipped
    return DemoRow(RUNS[name], run.top1, epochs if name == "base" else 2 * epochs, *parameters, step_ms)
