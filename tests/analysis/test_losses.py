"""Bounded batches: the same samples in every pass, and bad data said in one line."""

import pytest
import torch

from refconv.analysis.losses import BoundedBatches, classification_loss
from refconv.errors import DataError, ModelError, SettingError

IMAGES, LABELS = torch.arange(12.0).reshape(6, 2), torch.arange(6)
TWO = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]


@pytest.mark.parametrize("batches", [TWO, lambda: iter(TWO)], ids=["list", "function"])
@pytest.mark.parametrize(("most", "taken", "cut"), [(None, 6, False), (6, 6, False), (5, 5, True), (4, 4, True)])
def test_every_pass_has_the_same_first_samples(batches, most, taken, cut):
    bounded = BoundedBatches(batches, most)
    assert (bounded.samples, bounded.cut) == (taken, cut)
    for _ in range(2):
        passed = list(bounded)
        assert torch.equal(torch.cat([samples for samples, _ in passed]), IMAGES[:taken])
        assert torch.equal(torch.cat([targets for _, targets in passed]), LABELS[:taken])


def test_empty_batches_are_passed_over():
    assert [len(targets) for _, targets in BoundedBatches([(IMAGES[:0], LABELS[:0]), *TWO])] == [4, 2]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no samples to run the model on"),
        ([(IMAGES[:0], LABELS[:0])], "no samples to run the model on"),
        (iter(TWO), "batches cannot be gone through again"),
        ([(IMAGES, LABELS[:3])], "samples and targets differ in number"),
        ([([IMAGES], [LABELS])], "a batch is not a pair of tensors"),
        ([(IMAGES / 0, LABELS)], "samples have entries that are not finite"),
    ],
    ids=["none", "empty", "iterator", "lengths", "lists", "not-finite"],
)
def test_data_that_cannot_be_used_are_refused(batches, message):
    with pytest.raises(DataError, match=message) as caught:
        BoundedBatches(batches)
    assert "\n" not in str(caught.value)


def test_a_function_that_returns_one_iterator_is_found_out():
    once = iter(TWO)
    bounded = BoundedBatches(lambda: once)
    with pytest.raises(DataError, match="batches ended early in a later pass; expected 6 samples in every pass"):
        list(bounded)


def test_a_bound_below_one_is_refused():
    with pytest.raises(SettingError, match="max_samples: too few"):
        BoundedBatches(TWO, 0)


def test_cross_entropy_is_of_scores_and_classes():
    scores = torch.randn(6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = -torch.log_softmax(scores, 1)[range(6), LABELS].mean()
    torch.testing.assert_close(classification_loss(scores, LABELS.int()), expected)
    positions = scores[..., None].expand(6, 7, 3)
    torch.testing.assert_close(classification_loss(positions, LABELS[:, None].expand(6, 3)), expected)
    with pytest.raises(ModelError, match=r"no scores of classes; expected \[batch, classes\], found \[6\]"):
        classification_loss(scores[:, 0], LABELS)
    with pytest.raises(DataError, match="classes that the model does not have; expected 0 to 4, found 0 to 5"):
        classification_loss(scores[:, :5], LABELS)
    with pytest.raises(DataError, match="targets are no classes of these outputs"):
        classification_loss(scores, LABELS.float())
