"""The Triton kernels, interpreted on the CPU, against the formulas of refconv.ops; neighbouring formulas differ."""

import pytest
import torch

from interpreted import interpreted  # noqa: F401 a fixture
from refconv.fused import launching, triton_kernels
from refconv.fused.batched import by_shifts
from refconv.fused.launching import neighbours, rewrite_rows, rewrite_slices
from refconv.fused.tables import Tables
from refconv.ops import apply_gram_by_convolution

pytest.importorskip("triton", reason="triton is not installed")

SIZES = [
    ((3, 3), (3, 3)),
    ((3, 3), (5, 5)),
    ((2, 4), (3, 5)),
    ((1, 11), (1, 3)),
    ((5,), (3,)),
    ((3, 3, 3), (3, 3, 3)),
    ((5, 5), (3, 3)),
    ((7, 7), (5, 5)),
]
EPSILON = {dtype: torch.finfo(dtype).eps for dtype in launching.DTYPES}


def layers(kernel_size, dtype, counts=((3, 2), (2, 5))):
    """Gradients and bases of dense layers; the last one is stored with channels last where torch has that."""
    torch.manual_seed(0)
    gradients = [torch.randn(*count, *kernel_size, dtype=torch.float64).to(dtype) for count in counts]
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(kernel_size))
    if last is not None:
        gradients[-1] = gradients[-1].contiguous(memory_format=last)
    return gradients, [torch.randn_like(gradient) for gradient in gradients]


def expected(gradient, base, kernel_size, map_size, root=None, factor=0.0):
    shape = -1, 1, torch.Size(kernel_size).numel()
    own, b = (one.double().reshape(shape) for one in (gradient, base))
    found = apply_gram_by_convolution(own, b, kernel_size, map_size, None if root is None else root.double())
    return found.reshape(gradient.shape) + factor * base.double()


def off(found, reference):
    """The largest error, in units of the largest entry."""
    return ((found.double() - reference).abs().max() / reference.abs().max()).item()


@pytest.mark.parametrize("unrolled", [True, False], ids=["registers", "tiles"])
@pytest.mark.parametrize(("kernel_size", "map_size"), SIZES[:5], ids=str)
def test_slices_are_rewritten_as_by_convolution(interpreted, kernel_size, map_size, unrolled):  # noqa: F811
    gradients, bases = layers(kernel_size, torch.float64)
    roots = [None, 0.5 + torch.rand(10, 1, 1, dtype=torch.float64)]
    found = rewrite_slices(gradients, bases, kernel_size, map_size, roots, factor=-0.3, unrolled=unrolled)
    for out, gradient, base, root in zip(found, gradients, bases, roots, strict=True):
        reference = expected(gradient, base, kernel_size, map_size, root, -0.3)
        # 18 sums of products, in another order; relative to the largest entry, of which sums hold a few
        assert off(out, reference) < 64 * EPSILON[torch.float64]
        assert out.stride() == gradient.stride()
        assert off(out, expected(gradient, base, kernel_size, map_size, root, 0.3)) > 1e-3
        other = torch.full((len(gradient) * gradient.shape[1], 1, 1), 2.0)
        assert off(out, expected(gradient, base, kernel_size, map_size, other, -0.3)) > 1e-3


@pytest.mark.parametrize(("kernel_size", "map_size"), SIZES[5:], ids=str)
def test_large_slices_go_in_tiles(interpreted, monkeypatch, kernel_size, map_size):  # noqa: F811
    monkeypatch.setattr(triton_kernels, "slices_in_registers", None)
    gradients, bases = layers(kernel_size, torch.float64, ((2, 1), (1, 3)))
    for out, *of in zip(
        rewrite_slices(gradients, bases, kernel_size, map_size, [None, None], unrolled=False),
        gradients,
        bases,
        strict=True,
    ):
        assert off(out, expected(*of, kernel_size, map_size)) < 64 * EPSILON[torch.float64]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_products_are_in_float32_and_brought_to_the_dtype_once(interpreted, dtype):  # noqa: F811
    gradients, bases = layers((3, 3), dtype)
    roots = [torch.full((6, 1, 1), 1.5), None]
    found = rewrite_slices(gradients, bases, (3, 3), (3, 3), roots, factor=0.25)
    wide = rewrite_slices(gradients, bases, (3, 3), (3, 3), roots, factor=0.25, dtype=torch.float32)
    for out, exact, gradient, base, root in zip(found, wide, gradients, bases, roots, strict=True):
        assert out.dtype == dtype
        truncated = (exact.view(torch.int32) & -65536).view(torch.float32).bfloat16()
        cut = dtype == torch.bfloat16 and torch.equal(out, truncated)  # as the interpreter does; GPUs round
        assert cut or torch.equal(out, exact.to(dtype))
        reference = expected(gradient, base, (3, 3), (3, 3), root, 0.25)
        # float32: 18 products in a row and the base, half a unit each, of sums that are up to the largest entry
        assert off(exact, reference) < 10 * EPSILON[torch.float32]


@pytest.mark.parametrize("wrong", ["sign of the shift", "no boundary"])
def test_neighbouring_formulas_differ(interpreted, monkeypatch, wrong):  # noqa: F811
    gradients, bases = layers((3, 3), torch.float64)
    right = neighbours((3, 3), (3, 3))
    if wrong == "sign of the shift":  # in the first pass or the second alone; in both it is the same sum
        table = tuple(right[(8 - d) * 9 + y] if d < 4 else right[d * 9 + y] for d in range(9) for y in range(9))
    else:  # over the edge into the next row, as with flat numbers
        table = tuple(y + 3 * (d // 3 - 1) + d % 3 - 1 for d in range(9) for y in range(9))
        table = tuple(number if 0 <= number < 9 else -1 for number in table)
    monkeypatch.setattr(launching, "neighbours", lambda *sizes: table)
    found = rewrite_slices(gradients, bases, (3, 3), (3, 3), [None, None])
    assert off(found[0], expected(gradients[0], bases[0], (3, 3), (3, 3))) > 1e-2


def test_sums_over_all_shifts_do_not_depend_on_their_order():
    """Neighbours of a shift and of its opposite are each other's inverse: the two passes are P^T and P."""
    for kernel_size, map_size in SIZES:
        taps, shifts = torch.Size(kernel_size).numel(), torch.Size(map_size).numel()
        table = torch.tensor(neighbours(kernel_size, map_size)).reshape(shifts, taps)
        for d in range(shifts):
            for y in range(taps):
                z = table[d, y].item()
                assert z < 0 or table[shifts - 1 - d, z] == y


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 11), (3,)], ids=str)
def test_rows_meet_the_grams_of_their_blocks(interpreted, kernel_size, dtype):  # noqa: F811
    gradients, bases = layers(kernel_size, dtype, ((9, 1), (4, 3)))
    computing = torch.promote_types(dtype, torch.float32)
    taps = torch.Size(kernel_size).numel()
    grams = [torch.randn(blocks, taps, taps, dtype=torch.float64).to(computing) for blocks in (1, 3)]
    owners = [None, torch.tensor([0, 1, 2] * 4, dtype=torch.int32)]
    found = rewrite_rows(gradients, bases, grams, owners, taps, factor=0.5)
    for out, gradient, base, gram, owner in zip(found, gradients, bases, grams, owners, strict=True):
        chosen = gram[[0] * 9 if owner is None else owner.long()].double()
        reference = gradient.double().reshape(-1, 1, taps) @ chosen
        reference = reference.reshape(gradient.shape) + 0.5 * base.double()
        # k products and the base in float32 or float64, and one cut to the dtype of the output
        assert off(out, reference) < (taps + 1) * EPSILON[computing] + EPSILON[dtype] * (dtype != computing)
        assert out.stride() == gradient.stride()
    swapped = rewrite_rows(gradients, bases, grams, [None, None], taps, factor=0.5)
    assert not torch.allclose(swapped[1], found[1])


@pytest.mark.parametrize(("kernel_size", "map_size"), SIZES, ids=str)
def test_shifts_by_torch_are_the_same(kernel_size, map_size):
    (gradient, *_), (base, *_) = layers(kernel_size, torch.float64)
    shape = -1, 1, torch.Size(kernel_size).numel()
    root = 0.5 + torch.rand(6, 1, 1, dtype=torch.float64)
    found = by_shifts(gradient.reshape(shape), base.reshape(shape), kernel_size, map_size, root)
    assert off(found.reshape(base.shape), expected(gradient, base, kernel_size, map_size, root)) < 1e-14
    flipped = by_shifts(gradient.reshape(shape), base.flip(-1).reshape(shape), kernel_size, map_size, root)
    assert off(flipped.reshape(base.shape), expected(gradient, base, kernel_size, map_size, root)) > 1e-3


def test_tables_are_written_again_only_when_they_say_something_else(interpreted):  # noqa: F811
    gradients, bases = layers((3, 3), torch.float64)
    tables = Tables()
    written = []
    write = tables._written
    tables._written = lambda *given, **more: written.append(given[0][1]) or write(*given, **more)

    def rewrite(gradients, **settings):
        written.clear()
        return rewrite_slices(gradients, bases, (3, 3), (3, 3), [None, None], tables=tables, **settings)

    first = rewrite(gradients)
    assert sorted(written) == ["addresses", "geometry", "programs"]
    gradients[0].mul_(2)
    second = rewrite(gradients)
    assert not written
    torch.testing.assert_close(second[0], 2 * first[0])
    assert torch.equal(second[1], first[1])
    moved = rewrite([gradients[0].clone(), gradients[1]])
    assert written == ["addresses"]
    assert torch.equal(moved[0], second[0])
    assert not torch.equal(rewrite(gradients, factor=1.0)[0], second[0])


def test_slices_between_others_are_not_touched_and_gradients_stay(interpreted):  # noqa: F811
    gradients, bases = layers((3, 3), torch.float32, ((1, 1), (3, 5)))
    before = [one.clone() for one in (*gradients, *bases)]
    strided = torch.randn(3, 5, 3, 6)[..., ::2]
    found = rewrite_slices([gradients[0], strided], bases, (3, 3), (3, 3), [None, None])
    assert off(found[1], expected(strided, bases[1], (3, 3), (3, 3))) < 1e-6
    assert found[1].is_contiguous()
    assert all(torch.equal(one, other) for one, other in zip((*gradients, *bases), before, strict=True))
