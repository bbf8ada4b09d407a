"""Small networks that the tests of the core share: every kind of convolution, nothing from outside torch."""

import torch
from torch import nn


class EveryKind(nn.Module):
    """Dense, depthwise, grouped, pointwise and transposed kernels, with and without bias, in one 2-D network."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 16, 5, padding="same", groups=8, bias=False)
        self.grouped = nn.Conv2d(16, 12, (1, 4), groups=4, dilation=(1, 2))
        self.pointwise = nn.Conv2d(12, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.grouped(torch.relu(self.depthwise(x))))
        return self.head(self.up(torch.relu(self.pointwise(x))).mean((2, 3)))


class Repeated(nn.Module):
    """A convolution that runs three times in one forward."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x):
        return self.conv(self.conv(self.conv(x)))


class Shared(nn.Module):
    """Two convolutions that share one kernel."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.a(x) + self.b(x)


def randomise(model, std=0.1):
    """Give every refocus weight of a model random values; return how many there were."""
    weights = [value for name, value in model.named_parameters() if name.endswith("refocus_weight")]
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=std)
    return len(weights)
