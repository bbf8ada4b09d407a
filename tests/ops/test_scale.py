"""The scale of refocusing: the slow reference, the proposition of docs/math.md, and blocks that are all but dead."""

import math

import pytest
import torch

from ops_reference import reference_scaling
from refconv.ops import gram, metric_gram, patches, scaling, shaped_patches

SIZES = (3, 3), (3, 3)


def base(m, size=1.0, taps=9):
    torch.manual_seed(0)
    return size * torch.randn(2, m, taps, dtype=torch.float64)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("m", [1, 5])
def test_capped_scale_equals_the_slow_sums_over_pairs_of_rows(m, power):
    blocks = base(m)
    blocks[0] /= 1000
    blocks[1, 0, :] = 0  # rows of zero length, too
    found = scaling(blocks, *SIZES, scale="capped", power=power)
    for block, sign, root in zip(blocks, found.sign, found.root, strict=True):
        (rows,) = shaped_patches(patches(block[None], *SIZES), power)
        assert (sign.item(), root.item()) == pytest.approx(reference_scaling(rows), rel=1e-12)


@pytest.mark.parametrize("m", [1, 8, 60])
def test_a_step_by_signs_moves_the_kernel_as_the_proposition_says(m):
    """sqrt(2 / pi) <= root mean square movement over that of plain training <= 1, for Gaussian gradients."""
    blocks = base(m, size=3.0)
    unfolded, scales = patches(blocks, *SIZES), scaling(blocks, *SIZES, scale="capped")
    assert (scales.sign > 1).all()
    gradients = torch.randn(2, 4000, 9, dtype=torch.float64)
    moved = (gradients @ unfolded.mT).sign() @ unfolded / scales.sign
    speeds = moved.square().mean((1, 2)).sqrt()
    # the mean of 4,000 squares, whose spread is less than their mean, is right within 5 %, three times its error
    assert (speeds < 1.025).all()
    assert (speeds > 0.975 * math.sqrt(2 / math.pi)).all()
    # the exact value: the arcsine law, for every pair of rows
    lengths = unfolded.norm(dim=-1)
    products = unfolded @ unfolded.mT
    cosines = (products / (lengths[:, :, None] * lengths[:, None, :])).clamp(-1, 1)
    exact = (2 / math.pi * products * cosines.asin()).sum((1, 2)) / 9 / scales.sign[:, 0, 0].square()
    torch.testing.assert_close(speeds, exact.sqrt(), rtol=0.025, atol=0)
    # neighbouring wrong scales, the root of the mean eigenvalue and its product with the root of m t, are far off
    mean = gram(unfolded).diagonal(dim1=1, dim2=2).mean(1).sqrt()
    if m > 1:
        assert (scales.sign[:, 0, 0] > 2 * mean).all()
    assert (scales.sign[:, 0, 0] < 0.8 * mean * math.sqrt(9 * m)).all()


def test_no_gradient_moves_a_capped_kernel_farther_than_plain_training_does_and_slower_blocks_stay():
    """|g G^p / c_S^2| <= |g|, reached along the first eigenvector; caps on the mean or its square would let it pass."""
    blocks = base(4)
    blocks[0] /= 100
    blocks[1] = 0.1 * blocks[1] + 1  # kernels that are alike: the eigenvalues lie far apart
    found = scaling(blocks, *SIZES, scale="capped")
    assert found.sign[0] == found.root[0] == 1
    torch.testing.assert_close(found.gain, (found.sign / found.root).square())
    for power in (0.5, 1.0, 2.0):
        grams = gram(shaped_patches(patches(blocks, *SIZES), power))
        values, vectors = torch.linalg.eigh(grams)
        metric = metric_gram(blocks, *SIZES, scale="capped", power=power)
        gradients = torch.cat([torch.randn(2, 100, 9, dtype=torch.float64), vectors.mT], dim=1)
        ratios = (gradients @ metric).norm(dim=-1) / gradients.norm(dim=-1)
        assert (ratios <= 1 + 1e-12).all()
        assert ratios[1].max() == pytest.approx(1, rel=1e-12)
        torch.testing.assert_close(metric[0], grams[0])
        mean, square = values[1].mean(), values[1].square().mean().sqrt()
        assert values[1, -1] > 1.5 * square > 1.5 * mean


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5)])
def test_largest_eigenvalue_where_patches_have_fewer_rows_than_taps(kernel_size):
    blocks = base(1, size=2.0, taps=math.prod(kernel_size))
    found = scaling(blocks, kernel_size, (3, 1), scale="capped").root[:, 0, 0]
    expected = torch.linalg.matrix_norm(patches(blocks, kernel_size, (3, 1)), ord=2)
    torch.testing.assert_close(found, expected)


def test_other_scales():
    blocks = base(4)
    paper, normalized = (scaling(blocks, *SIZES, scale=scale) for scale in ("paper", "normalized"))
    assert (paper.sign == 1).all()
    assert (paper.root == 1).all()
    assert torch.equal(normalized.sign, normalized.root)
    mean = gram(patches(blocks / normalized.root, *SIZES)).diagonal(dim1=1, dim2=2).mean(1)
    torch.testing.assert_close(mean, torch.ones_like(mean))


@pytest.mark.parametrize("scale", ["capped", "normalized"])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-45, 1e-20, 1e20, 1e100])
def test_scales_of_any_size_are_finite_and_invertible(size, scale):
    found = scaling(base(3, size), *SIZES, scale=scale)
    for value in (found.sign, found.root, found.gain):
        assert value.isfinite().all()
    assert (1 / found.sign).float().isfinite().all()
    if size < 1e-31:
        assert (found.sign == 1).all()
