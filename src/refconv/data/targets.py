"""What samples are compared with: a class each, a set of labels, or numbers; NaN is what is not known.

Classes are int64 [n]; labels, 1 or 0, and values are float32 [n, columns], one name a column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.data.class_names import listed
from refconv.errors import DataError

Kind = Literal["classes", "labels", "values"]
Named = tuple[Tensor, tuple[str, ...]]  #: Targets, and the names of their classes or columns


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The targets that a task takes; ``one`` label may be that of the class ``positive`` against all others."""

    kind: Kind = "classes"
    one: bool = False
    positive: str | None = None

    def of_classes(self, classes: Tensor, names: Sequence[str], *, where: str) -> Named:
        """Make targets of the class of each sample, int64 [n].

        Classes become labels of which one is 1, a single label for the positive class, or, if their names are numbers,
        values.

        Example:
            >>> Wanted("labels", one=True).of_classes(torch.tensor([0, 1]), ("real", "fake"), where="folder:x")
            (tensor([[0.], [1.]]), ('fake',))
            >>> Wanted("values").of_classes(torch.tensor([1, 0]), ("20", "30.5"), where="folder:x")
            (tensor([[30.5000],
                    [20.0000]]), ('value',))

        Raises:
            DataError: if the classes do not say what is wanted.
        """
        if self.kind == "classes":
            return classes, tuple(names)
        if self.kind == "values":
            try:
                values = torch.tensor([float(name) for name in names])
            except ValueError as error:
                remedy = "give table:FILE with a line IMAGE,VALUE for each image, or name class folders by numbers"
                raise DataError(
                    "has no values", where=where, found=f"classes {listed(names)}", remedy=remedy
                ) from error
            return values[classes][:, None], ("value",)
        if not self.one:
            return F.one_hot(classes, len(names)).float(), tuple(names)
        index = self._index(names, where)
        return (classes == index).float()[:, None], (names[index],)

    def of_columns(self, columns: Tensor, names: Sequence[str], *, where: str) -> Named:
        """Check labels or values [n, columns]; labels may be -1 and 1 instead of 0 and 1."""
        if self.kind == "classes":
            remedy = "give --task multilabel, or --task regression for values"
            raise DataError("has several targets a sample", where=where, expected="a class", remedy=remedy)
        if not len(names):
            remedy = "fill in what is known: 0 says that a label does not apply, an empty cell that nobody knows"
            raise DataError("no sample has a target", where=where, expected=f"some {self.kind}", remedy=remedy)
        if self.kind == "values":
            if bool(columns.isinf().any()):
                raise DataError("values must be finite", where=where, expected="numbers, or nothing where unknown")
            return columns, tuple(names)
        found = columns[~columns.isnan()].unique().tolist()
        if set(found) <= {-1.0, 1.0}:
            columns = columns.clamp(min=0)
        elif not set(found) <= {0.0, 1.0}:
            expected, shown = "0 and 1, or -1 and 1; nothing where unknown", listed([f"{value:g}" for value in found])
            remedy = "give --task regression for values"
            raise DataError("labels are no yes or no", where=where, expected=expected, found=shown, remedy=remedy)
        if self.one and len(names) != 1:
            index = self._index(names, where)
            return columns[:, index, None], (names[index],)
        return columns, tuple(names)

    def _index(self, names: Sequence[str], where: str) -> int:
        if self.positive is None and len(names) == 2:
            return 1
        if self.positive is None or self.positive not in names:
            what = "it is not known which class is the positive one" if self.positive is None else "no such class"
            expected = f"one of {listed(names)}"
            remedy = "name the positive class, in training by --positive NAME"
            raise DataError(what, where=where, expected=expected, found=self.positive, remedy=remedy)
        return list(names).index(self.positive)


CLASSES = Wanted()


def check_known(targets: Tensor, names: Sequence[str], *, where: str) -> None:
    """Check that each column of training targets is known of some sample: nothing could be learned of the others.

    Raises:
        DataError: if one is not.
    """
    unknown = [name for name, some in zip(names, known(targets).any(dim=0).tolist(), strict=True) if not some]
    if unknown:
        what, remedy = "no training sample has a value here", "leave the column out, or fill in what is known"
        raise DataError(what, where=where, expected="a value in some lines", found=listed(unknown), remedy=remedy)


def strata(targets: Tensor) -> Tensor:
    """Return what splits are stratified by, int64 [n]: the class, a single label, or nothing."""
    if targets.ndim == 1:
        return targets
    if targets.shape[1] == 1 and bool(((targets == 0) | (targets == 1)).all()):
        return targets[:, 0].long()
    return torch.zeros(len(targets), dtype=torch.int64)


def strata_names(targets: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Return what messages call the strata."""
    return tuple(names) if targets.ndim == 1 else ("negative", names[0] if names else "positive")


def placed(targets: Tensor, outputs: Tensor, count: int) -> Tensor:
    """Return targets in the order of a model's outputs; columns that the data lacks are not known."""
    if not targets.is_floating_point():
        return outputs[targets]
    wide = targets.new_full((len(targets), count), float("nan"))
    wide[:, outputs] = targets
    return wide


def known(targets: Any) -> Tensor:
    """Return which entries are known, bool."""
    return ~torch.as_tensor(targets).isnan()
