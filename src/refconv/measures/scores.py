"""How well two models do their task, by the measures of the task.

The record; it is made by ``training/analyses/scores.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.records import Record


@dataclass(frozen=True)
class Scores(Record):
    """How well one model does its task.

    Attributes:
        task: the task.
        samples: how many samples that is; the same ones for both models of a pair.
        cut: whether the split has more.
        measures: by name, as an evaluation of the task names them.
        classes: the task's first measure for each class, by name; None for a class without one, empty where the task
            has no classes.
    """

    task: str
    samples: int
    cut: bool
    measures: dict[str, float]
    classes: dict[str, float | None]

    def __str__(self) -> str:
        values = [f"{name} {value:.4g}" for name, value in self.measures.items()]
        return f"{', '.join(values)} on {self.samples:,} samples{' of more' if self.cut else ''}"
