"""Auxiliary classifiers: their losses are added with the weight that their authors give."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.googlenet import GoogLeNetOutputs
from torchvision.models.inception import InceptionOutputs

from refconv.data import DataInfo
from refconv.engine import Recipe
from refconv.process.distributed import Processes
from refconv.tasks.classification.task import Classification

INFO = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)


@pytest.mark.parametrize(
    ("outputs", "count", "weight"),
    [(GoogLeNetOutputs, 2, 0.3), (InceptionOutputs, 1, 0.4), (lambda *parts: parts, 1, 0.3)],
    ids=["googlenet", "inception", "tuple"],
)
def test_auxiliary_losses_are_weighted(outputs, count, weight):
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 4, dtype=torch.float32, generator=generator) for _ in range(1 + count)]
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    processes = Processes(0, 1, torch.device("cpu"))
    objective = Classification().objective(Recipe(model="m", data="digits"), INFO, processes, part_size=6)
    first, *others = (F.cross_entropy(entry, labels) for entry in logits)
    torch.testing.assert_close(objective(lambda _: outputs(*logits), None, labels), first + weight * sum(others))
