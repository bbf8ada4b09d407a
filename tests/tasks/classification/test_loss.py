"""The loss of classification: mixing and label smoothing as the recipe says."""

import pytest
import timm.loss
import torch

from refconv.data import DataInfo
from refconv.errors import RecipeError
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.task import Classification, make_loss, make_mixing

IMAGES = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
SIGNALS = DataInfo("signals", 4, 1, (1, 40), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)


ALONE = Processes(0, 1, torch.device("cpu"))


def recipe(**settings):
    return Recipe(model="m", data="digits", **settings)


def test_mixing_gives_soft_labels_that_sum_to_one():
    mixing = make_mixing(recipe(mixup=0.2, cutmix=1.0, smoothing=0.1), IMAGES, ALONE, part_size=4)
    _, labels = mixing(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))
    assert labels.shape == (4, 4)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def test_mixing_is_off_by_default_and_refused_where_it_cannot_be():
    assert make_mixing(recipe(), IMAGES, ALONE, part_size=3) is None
    with pytest.raises(RecipeError, match="cutmix: cutmix needs images"):
        make_mixing(recipe(cutmix=0.2), SIGNALS, ALONE, part_size=4)
    assert make_mixing(recipe(mixup=0.2), SIGNALS, ALONE, part_size=4) is not None


def test_labels_are_smoothed_once():
    outputs, labels = torch.randn(4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    smooth = torch.full((4, 4), 0.025, dtype=torch.float64) + 0.9 * torch.eye(4, dtype=torch.float64)
    expected = -(smooth * outputs.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1))(outputs, labels), expected)
    # Mixing smooths the labels itself.
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1, mixup=0.2))(outputs, smooth), expected)


def one_against_all(outputs, targets, *, summed):
    """The binary cross-entropy of each class, written out."""
    p = outputs.sigmoid()
    entries = -(targets * p.log() + (1 - targets) * (1 - p).log())
    return (entries.sum(1) if summed else entries.mean(1)).mean()


@pytest.mark.parametrize("summed", [False, True], ids=["mean", "sum"])
@pytest.mark.parametrize("threshold", [None, 0.2], ids=["soft", "thresholded"])
def test_bce_is_that_of_timms_flags(summed, threshold):
    outputs = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, ones = torch.tensor([0, 1, 2, 3]), torch.eye(4, dtype=torch.float64)
    settings = {"sum_classes": True} if summed else {}
    settings |= {} if threshold is None else {"target_threshold": threshold}
    given = recipe(loss="bce", loss_kwargs=settings, smoothing=0.1)
    loss = Classification().loss(given, IMAGES, torch.device("cpu"))
    smooth = ones if threshold else 0.025 + 0.9 * ones
    torch.testing.assert_close(loss(outputs, labels), one_against_all(outputs, smooth, summed=summed))
    theirs = timm.loss.BinaryCrossEntropy(0.1, target_threshold=threshold, sum_classes=summed)
    torch.testing.assert_close(loss(outputs, labels), theirs(outputs, labels), rtol=0, atol=0)
    # Mixed labels come smoothed: they are taken as they are, or set to 0 and 1.
    mixed = 0.3 * ones + 0.7 * ones.roll(1, 0)
    wanted = (mixed > threshold).double() if threshold else mixed
    torch.testing.assert_close(loss(outputs, mixed), one_against_all(outputs, wanted, summed=summed))


def test_bce_does_not_smooth_by_itself():
    outputs, labels = torch.zeros(2, 4), torch.tensor([0, 1])
    loss = Classification().loss(recipe(loss="bce"), IMAGES, torch.device("cpu"))
    assert loss.smoothing == 0.0
    torch.testing.assert_close(loss(outputs, labels), torch.tensor(2.0).log())


def test_other_losses_of_ones_own_refuse_smoothing():
    with pytest.raises(RecipeError, match="smoothing: has no effect with a loss of your own"):
        Classification().loss(recipe(loss="cross_entropy", smoothing=0.1), IMAGES, torch.device("cpu"))
