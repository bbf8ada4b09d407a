"""Curvature of the loss at a model: the largest eigenvalues of the Hessian, and its trace.

The records; what they are computed from is in ``analysis/curvature.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.sharpness import Spread
from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class Curvature(Record):
    """Curvature of the loss at one model.

    Attributes:
        loss: the model's own loss.
        eigenvalues: the largest of the Hessian, descending, in units of the loss over ``units`` squared.
        errors: each eigenvalue is within this of a true one.
        smallest: the smallest eigenvalue seen, below 0 where the loss curves down.
        smallest_error: smallest is within this of a true one; the true smallest may lie lower.
        converged: whether all of ``eigenvalues`` are within the tolerance.
        steps: Lanczos steps, each one Hessian-vector product.
        trace: sum of all eigenvalues, estimated: one number per random vector, mean, standard error; None if not asked.
        units: ``weights``, or ``filters``: weights over the root mean square of their filter.
        dimension: number of weights that the Hessian is taken over.
        samples: over how many samples.
        cut: whether there were more that ``max_samples`` left out.
        seed: of the random vectors.
    """

    loss: float
    eigenvalues: tuple[float, ...]
    errors: tuple[float, ...]
    smallest: float
    smallest_error: float
    converged: bool
    steps: int
    trace: Spread | None
    units: str
    dimension: int
    samples: int
    cut: bool
    seed: int

    def __str__(self) -> str:
        rows = [
            (f"eigenvalue {index}", number(value, 4), number(error, 1))
            for index, (value, error) in enumerate(zip(self.eigenvalues, self.errors, strict=True), 1)
        ]
        rows.append(("smallest seen", number(self.smallest, 4), number(self.smallest_error, 1)))
        if self.trace:
            rows.append(("trace", number(self.trace.mean, 4), number(self.trace.error, 1)))
        state = "converged" if self.converged else "not converged"
        more = " of more" if self.cut else ""
        text = f"Hessian over {self.dimension:,} weights in units of {self.units}, {self.samples:,} samples{more}"
        return f"{text_table(('curvature', 'value', 'error'), rows)}\n{text}; {state} after {self.steps} steps"
