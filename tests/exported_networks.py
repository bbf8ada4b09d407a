"""Small networks that tests export, with random weights: each exporter takes seconds."""

import torch
from torch import nn

from refconv.data.preprocessing import Statement
from refconv.models.opening import Opened


class Small(nn.Module):
    """A classifier with a dense and a depthwise kernel, batch norm and bias."""

    def __init__(self, num_classes=4, in_chans=3):
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.stem = nn.Conv2d(in_chans, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(torch.relu(self.depthwise(torch.relu(self.norm(self.stem(x))))).mean((2, 3)))


class Boxes(nn.Module):
    """A detector: the brightest places of each image, as many as are above a half; the first has a mask."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, num_classes, 3, padding=1)

    def forward(self, images):
        found = []
        for image in images:
            maps = self.conv(image[None])[0].sigmoid()
            labels, rows, columns = (maps > 0.5).nonzero().T
            corners = torch.stack([columns, rows, columns + 1, rows + 1], 1).float()
            found.append({"boxes": corners, "labels": labels + 1, "scores": maps[labels, rows, columns]})
        return found


def lively(model, seed=0):
    """Give every parameter and running statistic of a network random values; return it in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
            elif name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


def opened(model, task="classification", name="small", **stated):
    """Return a network as a command opens it; ``stated`` is what it says about its input."""
    in_chans = stated["input_size"][0] if "input_size" in stated else 3
    arguments = {"num_classes": getattr(model, "num_classes", None), "in_chans": in_chans}
    return Opened(model, name, arguments, stated=Statement("the test", stated), task=task)
