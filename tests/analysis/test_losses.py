"""Cross-entropy of scores and classes; anything else said in one line."""

import pytest
import torch

from refconv.analysis.probe import classification_loss
from refconv.errors import DataError, ModelError

LABELS = torch.arange(6)


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
