"""Decisions for shape and texture, counted by hand."""

import pytest
import torch
from torch import nn

from refconv.analysis import cue_conflict
from refconv.errors import DataError, SettingError
from report_pairs import Answers

TARGETS = torch.tensor([[0, 1], [0, 1], [1, 2], [2, 0], [1, 1], [2, 1]])  # shape, texture; the fifth is no conflict
PLACES = torch.arange(6)[:, None].float()


def asked(before, after, **settings):
    data = [(PLACES[:4], TARGETS[:4]), (PLACES[4:], TARGETS[4:])]
    return cue_conflict(Answers([*before, 2]), Answers([*after, 2]), data, **settings)


def test_decisions_are_counted_by_cue_and_by_where_they_went():
    found = asked([0, 1, 1, 1, 1, 1], [0, 0, 2, 2, 1, 2])
    assert (found.samples, found.before.shape, found.before.texture, found.before.neither) == (5, 2, 2, 1)
    assert (found.after.shape, found.after.texture, found.after.neither) == (4, 1, 0)
    assert (found.before.share, found.after.share) == (0.5, 0.8)
    assert (found.to_shape, found.to_texture) == (2, 1)
    assert "share of shape 0.5 -> 0.8" in str(found)
    assert type(found).from_json(found.to_json()) == found


def test_a_model_that_names_neither_cue_has_no_share():
    found = asked([2, 2, 0, 1, 0, 0], [2, 2, 0, 1, 0, 0])
    assert found.before.share is None
    assert (found.before.neither, found.to_shape, found.to_texture) == (5, 0, 0)


class Sure(nn.Module):
    """Says the logarithms of the probabilities that samples hold."""

    def forward(self, x):
        return x.log()


def test_coarse_classes_have_the_mean_probability_of_theirs():
    x = torch.tensor([[0.3, 0.3, 0.4, 1e-9], [0.1, 0.1, 0.2, 0.6]], dtype=torch.float64)
    targets = torch.tensor([[0, 1], [0, 1]])
    found = cue_conflict(Sure(), Sure(), [(x, targets)], groups=(0, 0, 1, -1))
    assert (found.after.shape, found.after.texture) == (0, 2)  # means 0.3 and 0.4; by sums it would be shape
    found = cue_conflict(Sure(), Sure(), [(x, targets)], groups=(0, 0, 1, 1))
    assert (found.after.shape, found.after.texture) == (1, 1)


def test_what_is_no_pair_of_classes_is_refused_in_one_line():
    model = Answers([0, 1, 2])
    for targets, message in ((TARGETS[:, 0], "pair of classes"), (TARGETS[:, [0, 0]], "no image has two cues")):
        with pytest.raises(DataError, match=message):
            cue_conflict(model, model, [(PLACES[:2], targets[:2])])
    with pytest.raises(SettingError, match="each of the model's 3 classes"):
        cue_conflict(model, model, [(PLACES[:2], TARGETS[:2])], groups=(0, 1))
    with pytest.raises(DataError, match="none of the groups"):
        cue_conflict(model, model, [(PLACES[:3], TARGETS[:3])], groups=(0, 0, 1))
