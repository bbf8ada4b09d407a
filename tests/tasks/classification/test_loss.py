"""The loss of classification: mixing and label smoothing as the recipe says."""

import dataclasses

import pytest
import torch

from refconv.data import DataInfo
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.task import make_loss, make_mixing

IMAGES = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
SIGNALS = DataInfo("signals", 4, 1, (1, 40), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)


def recipe(**settings):
    return Recipe(model="m", data="digits", **settings)


def test_mixing_gives_soft_labels_that_sum_to_one():
    mixing = make_mixing(recipe(mixup=0.2, cutmix=1.0, smoothing=0.1), IMAGES, batch_size=4)
    _, labels = mixing(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))
    assert labels.shape == (4, 4)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def test_mixing_is_off_by_default_and_refused_where_it_cannot_be():
    assert make_mixing(recipe(), IMAGES, batch_size=3) is None
    with pytest.raises(RecipeError, match="batch_size: mixup and cutmix need pairs; expected an even number"):
        make_mixing(recipe(mixup=0.2), IMAGES, batch_size=3)
    for size, processes in ((1, 1), (3, 1), (6, 2)):  # the only batch is smaller than the batch size, and shared out
        few = dataclasses.replace(IMAGES, train_size=size)
        with pytest.raises(RecipeError, match=f"need pairs; expected an even number .*, found {size // processes}"):
            make_mixing(recipe(mixup=0.2), few, batch_size=4, processes=processes)
    with pytest.raises(RecipeError, match="cutmix: cutmix needs images"):
        make_mixing(recipe(cutmix=0.2), SIGNALS, batch_size=4)
    assert make_mixing(recipe(mixup=0.2), SIGNALS, batch_size=4) is not None


def test_labels_are_smoothed_once():
    outputs, labels = torch.randn(4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    smooth = torch.full((4, 4), 0.025, dtype=torch.float64) + 0.9 * torch.eye(4, dtype=torch.float64)
    expected = -(smooth * outputs.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1))(outputs, labels), expected)
    # Mixing smooths the labels itself.
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1, mixup=0.2))(outputs, smooth), expected)
