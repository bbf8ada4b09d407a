"""Kept batches: the same ones in every pass, read once as far as they fit into memory."""

import itertools

import pytest
import torch
from torch import nn

from refconv.analysis.answers import KeptBatches, embedded, scores
from refconv.analysis.batches import Passage


class Source:
    def __init__(self, count=4):
        self.count, self.read = count, []

    def __call__(self):
        for number in range(self.count):
            self.read.append(number)
            yield torch.full((2, 8), number, dtype=torch.float32), torch.full((2,), number)  # 64 bytes of samples


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 9])
def test_every_pass_has_all_batches_in_order(kept):
    batches = KeptBatches(Source(), 64 * kept)
    for _ in range(3):
        assert [int(labels[0]) for _, labels in batches()] == [0, 1, 2, 3]


def test_what_fits_is_read_once_and_the_rest_in_every_pass():
    whole, half = Source(), Source()
    for source, kept in ((whole, 4), (half, 2)):
        batches = KeptBatches(source, 64 * kept)
        for _ in range(2):
            list(batches())
    assert whole.read == [0, 1, 2, 3]
    assert half.read == [0, 1, 2, 3, 0, 1, 2, 3]  # a source cannot start in the middle


def test_passes_that_end_early_read_no_more_than_they_give_out():
    source = Source()
    batches = KeptBatches(source)
    for taken in (1, 3, 2):
        assert len(list(itertools.islice(batches(), taken))) == taken
    assert source.read == [0, 1, 2]
    assert [int(labels[0]) for _, labels in batches()] == [0, 1, 2, 3]
    assert source.read == [0, 1, 2, 3]


class Counting(nn.Linear):
    ran = 0

    def forward(self, x):
        self.ran += len(x)
        return super().forward(x)


def test_models_answer_once_on_whole_batches_whatever_a_measure_takes():
    torch.manual_seed(0)
    model, source = Counting(8, 4), Source()
    batches = KeptBatches(source)
    for most in (3, 2, None, 7):
        passage = Passage(batches, most)
        found = torch.cat([outputs for (outputs,), _ in scores(passage, model)])
        taken = torch.cat([samples for samples, _ in batches()])[:most]
        torch.testing.assert_close(found, nn.Linear.forward(model, taken).double())
        assert (len(found), passage.cut) == (most or 8, most is not None)
    embedded((model,), Passage(batches))
    assert model.ran == 8


def test_known_are_the_first_samples_of_whose_batches_a_model_was_asked():
    model, batches = nn.Linear(8, 4), KeptBatches(Source())
    assert batches.known == 0
    with torch.no_grad():
        list(scores(Passage(batches, 3), model))  # which asks about two batches of two
    assert batches.known == 4
    with torch.no_grad():
        list(scores(Passage(batches), model))
    assert batches.known == 8
