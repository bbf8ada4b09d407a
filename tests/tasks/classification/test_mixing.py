"""Mixing in shares: timm's numbers in one process, and the same images and labels in several."""

import copy

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup

from refconv.data.splits import taken_by
from refconv.tasks.classification.mixing import SharedMixup

SETTINGS = {
    "mixup": {"mixup_alpha": 0.4},
    "cutmix": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
    "both, at times": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "prob": 0.7, "switch_prob": 0.4},
}
SIZE = 10


def batch():
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(SIZE, 2, 9, 7, generator=drawn), torch.arange(SIZE) % 4


def mixed(made, samples, labels, seed):
    np.random.seed(seed)
    return made(samples.clone(), labels)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_any_number_of_processes_sees_what_timm_makes_of_the_whole_batch(settings, mode):
    samples, labels = batch()
    settings = {**settings, "mode": mode, "num_classes": 4, "label_smoothing": 0.1}
    for seed in range(5):
        expected = mixed(Mixup(**settings), samples, labels, seed)
        assert seed or not torch.equal(expected[0], samples)
        for world_size in (1, 2, 3, 7):  # of seven, two have no pair of their own
            for rank in range(world_size):
                own = taken_by(SIZE, rank=rank, world_size=world_size, pairs=True)
                made = SharedMixup(SIZE, rank=rank, world_size=world_size, **settings)
                found = mixed(made, samples[own], labels[own], seed)
                assert torch.equal(found[0], expected[0][own])
                torch.testing.assert_close(found[1], expected[1][own], rtol=0, atol=0)


def test_consecutive_shares_would_be_mixed_with_other_partners():
    samples, labels = batch()
    settings = {"mixup_alpha": 0.4, "num_classes": 4}
    whole = mixed(Mixup(**settings), samples, labels, 0)[0]
    halves = [mixed(Mixup(**copy.deepcopy(settings)), *half, 0)[0] for half in zip(
        samples.split(4), labels.split(4), strict=True) if len(half[1]) % 2 == 0]  # fmt: skip
    assert (torch.cat(halves) - whole).abs().max() > 0.1
