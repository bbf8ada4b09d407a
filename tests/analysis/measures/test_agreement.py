"""Changed samples by hand; McNemar's exact p against scipy's binomial test."""

import pytest
import torch
from torch import nn

from refconv.analysis.measures.outputs import agreement, mcnemar
from refconv.errors import ModelError, SettingError
from refconv.measures.agreement import Agreement, ChangedSample, ClassAgreement


class Column(nn.Module):
    """Names the class that the samples [batch, models] hold in one column."""

    def __init__(self, column, classes=3):
        super().__init__()
        self.column, self.classes = column, classes

    def forward(self, x):
        return nn.functional.one_hot(x[:, self.column].long(), self.classes).double()


TARGETS = torch.tensor([0, 0, 0, 1, 1, 2, 2])
BEFORE = torch.tensor([0, 0, 1, 1, 0, 1, 0])
AFTER = torch.tensor([0, 1, 0, 1, 1, 0, 0])  # right twice, lost one, gained two, wrong twice: once otherwise
DATA = [(torch.stack([BEFORE, AFTER], 1).float(), TARGETS)]


def test_samples_and_classes_that_changed_sides_by_hand():
    found = agreement(Column(0), Column(1), DATA)
    assert (found.both_right, found.gained, found.lost, found.both_wrong) == (2, 2, 1, 2)
    assert found.same == 3 / 7
    assert found.accuracy == (3 / 7, 4 / 7)
    assert found.p == 1
    assert found.classes == (
        ClassAgreement(0, 3, 2, 2, 1, 1),
        ClassAgreement(1, 2, 1, 2, 1, 0),
        ClassAgreement(2, 2, 0, 0, 0, 0),
    )
    assert found.changed == (
        ChangedSample(1, 0, 0, 1),
        ChangedSample(2, 0, 1, 0),
        ChangedSample(4, 1, 0, 1),
        ChangedSample(5, 2, 1, 0),
    )
    assert found.listed == 1
    back = agreement(Column(1), Column(0), DATA)
    assert (back.gained, back.lost, back.p) == (found.lost, found.gained, found.p)


def test_long_lists_are_cut_and_say_so():
    found = agreement(Column(0), Column(1), DATA, max_listed=3)
    assert ([row.place for row in found.changed], found.listed) == ([1, 2, 4], 0.75)
    assert agreement(Column(0), Column(1), DATA, max_listed=0).changed == ()
    bounded = agreement(Column(0), Column(1), DATA, max_samples=4)
    assert (bounded.samples, bounded.cut, bounded.gained, bounded.lost) == (4, True, 1, 1)
    assert "of more" in str(bounded)


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (9, 1), (3, 17), (40, 40), (60, 41), (900, 1100), (3000, 2000)])
def test_p_is_that_of_the_binomial_test(gained, lost):
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)
    if gained == 9:  # the neighbouring formula, chi-square without correction
        assert mcnemar(gained, lost) != pytest.approx(stats.chi2.sf((gained - lost) ** 2 / 10, 1), rel=0.1)


def test_a_model_agrees_with_itself():
    found = agreement(Column(0), Column(0), DATA)
    assert (found.gained, found.lost, found.p, found.same, found.changed, found.listed) == (0, 0, 1, 1, (), 1)


def test_a_real_pair_is_measured_left_alone_and_written(trained_pair, state_of):
    generator = torch.Generator().manual_seed(2)
    samples, labels = torch.randn(30, 3, 20, 20, generator=generator), torch.randint(0, 5, (30,), generator=generator)
    state = state_of(*trained_pair)
    found = agreement(*trained_pair, [(samples, labels)])
    assert state.unchanged()
    assert found.changed
    assert found.both_right + found.gained + found.lost + found.both_wrong == found.samples == 30
    assert Agreement.from_json(found.to_json()) == found
    assert "McNemar's exact p" in str(found)
    assert agreement(*trained_pair, [(samples[:7], labels[:7]), (samples[7:], labels[7:])]) == found


def test_many_classes_are_shown_by_how_much_they_changed():
    targets = torch.arange(30)
    data = [(torch.stack([targets, targets.roll(1) * (targets > 20) + targets * (targets <= 20)], 1), targets)]
    text = str(agreement(Column(0, 30), Column(1, 30), data))
    assert "and 20 more classes\n" in text
    assert text.splitlines()[1].startswith("21 ")


def test_bad_input_is_refused_in_one_line():
    with pytest.raises(ModelError, match="different classes; expected 3 classes, found 4"):
        agreement(Column(0), Column(1, 4), DATA)
    with pytest.raises(SettingError, match="max_listed: too few"):
        agreement(Column(0), Column(1), DATA, max_listed=-1)
