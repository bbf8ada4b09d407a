"""What the sections on the loss share: what it was measured on, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.numbers import count
from refconv.measures.pairs import Measured


def loss_label(items: Sequence[Measured]) -> str:
    """Return the name of the loss, with its unit where that is known."""
    tasks = {item.pair.facts.task for item in items}
    return "loss (cross-entropy, nats)" if tasks == {"classification"} else "loss"


def conditions_note(items: Sequence[Measured]) -> tuple[str, ...]:
    """Return what losses were measured on, once where it is the same for all pairs."""
    notes = [_conditions(item.record.conditions) for item in items]
    if len(set(notes)) == 1:
        return (notes[0],)
    return tuple(f"{item.name}: {note}" for item, note in zip(items, notes, strict=True))


def _conditions(found: Any) -> str:
    text = f"Loss over {count(found.samples, 'sample')}{_of_more(found.cut)}."
    if not found.norms:
        return f"{text} The models have no batch normalisation to recalibrate."
    where = f"{count(found.calibration_samples, 'sample')}{_of_more(found.calibration_cut)}"
    norms = count(found.norms, "batch-norm layer")
    return f"{text} Recalibrated: the statistics of {norms} were collected anew at every point, on {where}."


def samples_note(found: Any) -> str:
    """Return over how many samples a record is, and whether there were more."""
    return f"Measured on {count(found.samples, 'sample')}{_of_more(found.cut)}."


def _of_more(cut: bool) -> str:
    return " drawn from more" if cut else ""
