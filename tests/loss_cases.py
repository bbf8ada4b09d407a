"""What the tests of measures of the loss share: a quadratic in closed form, and images for a small network."""

import torch
from torch import nn


def regression(seed=0, features=6, samples=20):
    """A linear model, its data, and the Hessian of the mean squared error in its weight: (2 / n) X^T X."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    y = torch.randn(samples, 1, generator=generator, dtype=torch.float64)
    torch.manual_seed(seed)
    return nn.Linear(features, 1).double(), [(X[:8], y[:8]), (X[8:], y[8:])], 2 / samples * X.T @ X


def unit_directions(count, features=6, seed=0):
    """The shared directions, drawn here again, of the one filter of a linear model."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(1, features, generator=generator, dtype=torch.float64)[0] for _ in range(count)]
    return [direction / direction.norm() for direction in drawn]


def images(count=16, classes=5):
    """One batch of noise with classes, of a size that EveryKind takes."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(count, 3, 20, 20, generator=generator)
    return [(samples, torch.randint(0, classes, (count,), generator=generator))]
