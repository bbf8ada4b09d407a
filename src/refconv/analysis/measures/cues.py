"""Shape or texture: what two classifiers decide for where an image has the shape of one class, the texture of another.

Geirhos et al. (ICLR 2019, arXiv 1811.12231): of the images that a model puts into the class of their shape or into that
of their texture, the share of the former. Images whose two classes are the same say nothing and are left out. Where the
images are of coarse classes, each the union of several of the model's, a coarse class has the mean probability of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Passage, Progress, classify, observing
from refconv.analysis.timing import timed
from refconv.errors import DataError, SettingError
from refconv.measures.cues import CueConflict, Cues


@timed()
def cue_conflict(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    groups: Sequence[int] | None = None,
    max_samples: int | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> CueConflict:
    """Measure how often two classifiers decide for shape, and how often for texture.

    Args:
        batches: targets are [batch, 2], the class of the shape and that of the texture.
        groups: for each of the model's classes the coarse class that it belongs to, -1 for none; by default targets are
            the model's own classes.

    Example:
        >>> model, x = nn.Linear(2, 2, bias=False), torch.eye(2)
        >>> _ = nn.init.eye_(model.weight)  # names the class of the larger number
        >>> found = cue_conflict(model, model, [(x, torch.tensor([[0, 1], [0, 1]]))])
        >>> found.after.shape, found.after.texture, found.after.share
        (1, 1, 0.5)
    """
    passage = Passage(batches, max_samples, progress)
    parts = []
    with observing(before, after), torch.no_grad():
        for samples, targets in passage:
            if targets.ndim != 2 or targets.shape[1] != 2 or targets.is_floating_point():
                found = f"{targets.dtype} {list(targets.shape)}"
                raise DataError("a target is a pair of classes", expected="whole numbers [batch, 2]", found=found)
            named = [_named(model, samples, targets, groups) for model in (before, after)]
            parts.append(torch.stack([*targets.long().T, *named]).cpu())
    shape, texture, *sides = torch.cat(parts, 1)
    conflict = shape != texture
    if not bool(conflict.any()):
        raise DataError("no image has two cues", expected="a shape of one class and a texture of another")
    by_shape, by_texture = ([(side == cue) & conflict for side in sides] for cue in (shape, texture))
    total = int(conflict.sum())
    counts = [(int(one.sum()), int(other.sum())) for one, other in zip(by_shape, by_texture, strict=True)]
    first, last = (Cues(one, other, total - one - other) for one, other in counts)
    to_shape, to_texture = by_texture[0] & by_shape[1], by_shape[0] & by_texture[1]
    return CueConflict(total, passage.cut, first, last, int(to_shape.sum()), int(to_texture.sum()))


def _named(model: nn.Module, samples: Tensor, targets: Tensor, groups: Sequence[int] | None) -> Tensor:
    """Return the class [batch] that a model names, of coarse classes where groups are given."""
    if groups is None:
        for cue in targets.T:
            outputs = classify(model, samples, cue)
        return outputs.argmax(1)
    outputs = classify(model, samples, torch.zeros_like(targets[:, 0])).softmax(1)
    if len(groups) != outputs.shape[1]:
        expected = f"one for each of the model's {outputs.shape[1]} classes"
        raise SettingError("a wrong number of groups", where="groups", expected=expected, found=str(len(groups)))
    of = torch.tensor(groups, device=outputs.device)
    coarse = int(of.max()) + 1
    if coarse < 2 or int(targets.max()) >= coarse or int(targets.min()) < 0:
        expected, found = f"targets from 0 to {coarse - 1}", f"{int(targets.min())} to {int(targets.max())}"
        raise DataError("a target is none of the groups", expected=expected, found=found)
    means = torch.stack([outputs[:, of == group].mean(1) for group in range(coarse)], 1)
    return means.nan_to_num(-1).argmax(1)  # a group without a class is never named
