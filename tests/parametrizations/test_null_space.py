"""Null space: a change that the principal directions of the filters do not see."""

import pytest
import torch
from torch import nn

from refconv.errors import SettingError
from transforms import CONVOLUTIONS, disturb, transform_on


def directions_of(base, protected):
    """Return the leading right singular vectors [n, inner] of filters [out, inner], by the eigenvalues of F^T F."""
    values, vectors = torch.linalg.eigh(base.T @ base)
    values, vectors = values.flip(0), vectors.flip(1)
    count = 1
    while values[:count].sum() < protected * values.sum():
        count += 1
    return vectors[:, :count].T


@pytest.mark.parametrize("protected", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["dense", "depthwise", "grouped", "1-D", "3-D"])
def test_a_change_has_nothing_along_the_fewest_directions_of_that_share(kind, protected):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    base = module.weight.detach().clone()
    transform = transform_on("null_space", module, protected=protected)
    directions = directions_of(base.flatten(1), protected)
    assert transform.directions.shape == (1, *directions.shape)
    disturb(module)
    change = (module.weight - base).flatten(1)
    assert (change @ directions.T).abs().max() < 1e-14
    # whoever left singular vectors of the other side in place of these would change less, or other entries
    expected = transform.difference[0] - transform.difference[0] @ directions.T @ directions
    torch.testing.assert_close(change, expected.detach())


def test_under_sgd_the_gradient_is_projected():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3).double()
    base = module.weight.detach().clone()
    transform_on("null_space", module)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    plain, momentum = base.flatten(1).clone(), torch.zeros_like(base).flatten(1)
    directions = directions_of(base.flatten(1), 0.9)
    for _ in range(3):
        gradient = torch.randn_like(base)
        optimizer.zero_grad()
        (module.weight * gradient).sum().backward()
        optimizer.step()
        projected = gradient.flatten(1) - gradient.flatten(1) @ directions.T @ directions
        momentum = 0.9 * momentum + projected
        plain = plain - 0.1 * momentum
    torch.testing.assert_close(module.weight.flatten(1), plain)


def test_what_is_along_protected_directions_passes_unchanged():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, bias=False).double()
    transform = transform_on("null_space", module)
    patch = transform.directions[0, 0].reshape(1, 4, 3, 3)
    before = module(patch)
    disturb(module)
    torch.testing.assert_close(module(patch), before)
    assert not torch.allclose(module(torch.randn_like(patch)), before)


def test_nothing_is_protected_at_zero_and_all_is_refused():
    module = nn.Conv2d(2, 3, 3)
    assert transform_on("null_space", module, protected=0).directions.shape == (1, 0, 18)
    with pytest.raises(
        SettingError, match="protected: no share of the squared singular values; expected 0 to below 1, .* found 1"
    ):
        transform_on("null_space", nn.Conv2d(2, 3, 3), protected=1)
