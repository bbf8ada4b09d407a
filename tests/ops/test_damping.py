"""Damping, by its definition: k more rows sqrt(damping l) I under the patches, for every formula that knows patches."""

import pytest
import torch

from ops_reference import reference_scaling
from refconv.ops import (
    gram,
    grams,
    mean_eigenvalue,
    mean_of_metric,
    metric_factors,
    metric_gram,
    patches,
    refocused_blocks,
    scaling,
    shaped_patches,
    smallest_refocus_weight,
)

POWERS = [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
DAMPING = 0.3
SIZES = (3, 3), (3, 3)
FEW_ROWS = (3, 5), (1, 1)  # of one slice: fewer rows than taps

every_power = pytest.mark.parametrize("power", POWERS)
every_shape = pytest.mark.parametrize(("m", "sizes"), [(1, SIZES), (5, SIZES), (1, FEW_ROWS), (4, FEW_ROWS)], ids=str)
every_way = pytest.mark.parametrize("widest", [0, 256], ids=["factors", "Grams"])


def base(m, sizes, size=1.0):
    torch.manual_seed(0)
    taps = torch.Size(sizes[0]).numel()
    blocks = size * torch.randn(2, m, taps, dtype=torch.float64)
    blocks[0] /= 100
    return blocks


def damped(blocks, sizes, damping=DAMPING):
    """P~, from the definition."""
    unfolded = patches(blocks, *sizes)
    k = unfolded.shape[-1]
    means = torch.linalg.eigvalsh(gram(unfolded)).mean(-1)
    own = torch.stack([(damping * mean).sqrt() * torch.eye(k, dtype=blocks.dtype) for mean in means])
    return torch.cat([unfolded, own], 1)


def power_of(matrices, exponent):
    """By eigenvalues, none of which is zero here."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors @ torch.diag_embed(values**exponent) @ vectors.mT


@pytest.fixture
def way(widest, monkeypatch):
    monkeypatch.setattr(grams, "_WIDE", widest)


@every_way
@every_shape
@every_power
@pytest.mark.parametrize("scale", ["capped", "normalized", "paper"])
def test_metric_is_the_gram_of_the_damped_patches_to_the_power(way, m, sizes, power, scale):
    blocks = base(m, sizes)
    rows = damped(blocks, sizes)
    expected = power_of(gram(rows), power)
    mean = torch.linalg.eigvalsh(gram(rows)).mean(-1)[:, None, None]
    largest = torch.linalg.eigvalsh(expected)[:, -1, None, None]
    torch.testing.assert_close(mean_eigenvalue(blocks, *sizes, DAMPING), mean[:, 0, 0])
    torch.testing.assert_close(mean[:, 0, 0], (1 + DAMPING) * mean_eigenvalue(blocks, *sizes))
    expected = expected / {"paper": 1, "normalized": mean**power, "capped": largest.clamp(min=1)}[scale]
    settings = {"scale": scale, "power": power, "damping": DAMPING}
    torch.testing.assert_close(metric_gram(blocks, *sizes, **settings), expected, rtol=1e-9, atol=1e-9)
    means = torch.linalg.eigvalsh(expected).mean(-1)
    torch.testing.assert_close(mean_of_metric(blocks, *sizes, **settings), means, rtol=1e-9, atol=1e-9)
    if m * torch.Size(sizes[1]).numel() < blocks.shape[-1]:
        factors, weights, shift = metric_factors(blocks, *sizes, **settings)
        found = (factors.mT * weights) @ factors + shift * torch.eye(blocks.shape[-1])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_way
@every_shape
@every_power
@pytest.mark.parametrize("damping", [0.0, DAMPING])
def test_capped_scale_equals_the_slow_sums_over_pairs_of_damped_rows(way, m, sizes, power, damping):
    blocks = base(m, sizes, size=2.0)
    found = scaling(blocks, *sizes, scale="capped", power=power, damping=damping)
    if damping == 0 and (power < 0 or m * torch.Size(sizes[1]).numel() < blocks.shape[-1]):
        rows = shaped_patches(patches(blocks, *sizes), power)  # eigenvalues of zero
    else:
        rows = damped(blocks, sizes, damping)
        rows = rows @ power_of(gram(rows), (power - 1) / 2)
    for sign, root, own in zip(found.sign, found.root, rows, strict=True):
        assert (sign.item(), root.item()) == pytest.approx(reference_scaling(own), rel=1e-9)


@every_way
@every_shape
@every_power
def test_a_kernel_of_any_shape_is_reached_by_the_smallest_weight_and_not_without_damping(way, m, sizes, power):
    blocks = base(m, sizes)
    rows = damped(blocks, sizes)
    shaped = rows @ power_of(gram(rows), (power - 1) / 2)
    torch.testing.assert_close(shaped_patches(patches(blocks, *sizes), power, DAMPING), shaped, rtol=1e-8, atol=1e-8)
    moved, settings = torch.randn_like(blocks), {"power": power, "damping": DAMPING}
    weight = smallest_refocus_weight(moved, blocks, *sizes, **settings)
    torch.testing.assert_close(refocused_blocks(weight, blocks, *sizes, **settings), blocks + moved)
    torch.testing.assert_close(weight, moved @ torch.linalg.pinv(shaped), rtol=1e-7, atol=1e-7)
    if power >= 0 and m * torch.Size(sizes[1]).numel() < blocks.shape[-1]:
        own = smallest_refocus_weight(moved, blocks, *sizes, power=power)
        assert (refocused_blocks(own, blocks, *sizes, power=power) - blocks - moved).abs().max() > 0.1


@every_power
def test_blocks_of_zeros_stay_zero_under_any_damping(power):
    blocks = base(3, SIZES)
    blocks[0] = 0
    settings = {"scale": "capped", "power": power, "damping": DAMPING}
    assert not metric_gram(blocks, *SIZES, **settings)[0].any()
    weight = torch.randn(2, 3, 3 * 9 + 9, dtype=torch.float64)
    assert not refocused_blocks(weight, blocks, *SIZES, **settings)[0].any()
    scales = scaling(blocks, *SIZES, **settings)
    assert scales.sign[0] == scales.root[0] == 1
