"""Detectors that divide their losses by matched anchors: shares of a batch give the losses of the whole."""

import pytest
import torch

from refconv.models.builders import build
from refconv.process.distributed import Processes
from refconv.tasks.detection.matching import divides_by_matches, matches_of, share_of_matches


class Told(Processes):
    """One of several processes, told the sums over all."""

    def sums(self, values):
        return self.totals


def batch():
    images = list(torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    boxes = [[[8.0, 8, 40, 40], [2, 2, 20, 30]], [], [[30, 30, 60, 60]], [], [[1, 1, 60, 60]]]
    targets = [
        {"boxes": torch.tensor(own).view(-1, 4), "labels": torch.ones(len(own), dtype=torch.int64)} for own in boxes
    ]
    return images, targets


@pytest.mark.parametrize("head", ["ssdlite", "fcos"])
def test_shares_are_averaged_to_the_losses_of_the_whole_batch(head):
    torch.manual_seed(0)
    model = build(f"detector:{head}", backbone="test_resnet", num_classes=3, img_size=64).train()
    for part in model.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.eval()
    images, targets = batch()
    expected = torch.stack([*model(images, targets).values()])
    assert divides_by_matches(model)
    losses, counts = [], []
    for own in (slice(0, 2), slice(2, 4), slice(4, 5)):
        with matches_of(model) as matches:
            losses.append(torch.stack([*model(images[own], targets[own]).values()]))
        counts.append((matches[0], len(images[own])))
    assert "compute_loss" not in vars(model) | vars(model.head)
    Told.totals = [float(sum(column)) for column in zip(*counts, strict=True)]
    shared = [
        loss * share_of_matches(*count, Told(rank, 3, torch.device("cpu"))) * count[1] / 5
        for rank, (loss, count) in enumerate(zip(losses, counts, strict=True))
    ]
    torch.testing.assert_close(sum(shared), expected, rtol=1e-5, atol=1e-6)  # sums of float32
    means = sum(loss * count[1] / 5 for loss, count in zip(losses, counts, strict=True))  # the neighbour
    assert (means - expected).abs().max() > 5e-4 * expected.abs().max()


def test_other_detectors_average_over_images():
    assert not divides_by_matches(build("detector:retinanet", backbone="test_resnet", num_classes=3, img_size=64))
