"""Binary cross-entropy of classes: timm's own, with smoothing and mixing as in timm's train.py."""

import pytest
import torch
from timm.loss import BinaryCrossEntropy

from refconv.data import DataInfo
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe
from refconv.tasks.registry import task_named

INFO = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
CPU = torch.device("cpu")


def loss_of(task="classification", **settings):
    recipe = Recipe.from_mapping({"model": "m", "data": "digits", "task": task, **settings})
    return task_named(task).loss(recipe, INFO, CPU)


def by_hand(logits, truth, *, pos_weight=1.0, total=False):
    each = -(pos_weight * truth * logits.sigmoid().log() + (1 - truth) * (1 - logits.sigmoid()).log())
    return each.sum(1).mean() if total else each.mean()


def softened(labels, smoothing):
    truth = torch.full((len(labels), 4), smoothing / 4, dtype=torch.float64)
    truth[torch.arange(len(labels)), labels] = 1 - smoothing + smoothing / 4
    return truth


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_the_loss_of_hard_labels(smoothing, threshold, total, pos_weight):
    logits, labels = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 4
    given = {"bce_target_thresh": threshold, "bce_sum": total, "bce_pos_weight": pos_weight}
    found = loss_of(bce_loss=True, smoothing=smoothing, **given)(logits, labels)
    truth = softened(labels, smoothing)
    if threshold is not None:
        truth = (truth > threshold).double()
    torch.testing.assert_close(found, by_hand(logits, truth, pos_weight=pos_weight or 1.0, total=total))


def test_mixed_labels_are_not_smoothed_again():
    logits = torch.randn(8, 4, dtype=torch.float64)
    mixed = torch.rand(8, 4, dtype=torch.float64)
    found = loss_of(bce_loss=True, smoothing=0.1, mixup=0.2, bce_target_thresh=0.4)(logits, mixed)
    torch.testing.assert_close(found, by_hand(logits, (mixed > 0.4).double()))
    assert torch.equal(found, BinaryCrossEntropy(smoothing=0.0, target_threshold=0.4)(logits, mixed))


def test_labels_of_their_own_take_a_weight_of_the_positive_ones():
    logits, labels = torch.randn(8, 4, dtype=torch.float64), (torch.rand(8, 4) < 0.5).double()
    found = loss_of("multilabel", bce_loss=True, bce_pos_weight=3.0)(logits, labels)
    torch.testing.assert_close(found, by_hand(logits, labels, pos_weight=3.0))
    with pytest.raises(RecipeError, match="bce does not take target_threshold"):
        loss_of("multilabel", bce_loss=True, bce_target_thresh=0.2)


def test_tasks_without_classes_say_what_losses_they_have():
    with pytest.raises(RecipeError, match="loss: unknown loss; expected l2, l1, huber"):
        loss_of("regression", bce_loss=True)
