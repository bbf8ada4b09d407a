"""Triton kernels of gradient space: one launch rewrites the gradients of all layers that share a kernel size and dtype.

Programs find their work in tables, which :mod:`refconv.fused.launching` fills:

* ``programs`` [p, 2]: the tensor of a program and the first of its slices;
* ``geometry`` [n, 4]: of every tensor the number of slices, where its output begins, and the strides between taps of
  gradient and base, which say how they are stored: 1 where slices follow one another, and the number of input
  channels, between whose slices there is one number, where channels are last. The output is stored as the gradient;
* ``addresses`` [n, 5]: of every tensor the addresses of gradient, base and two more, and the bits of a factor on the
  base, in the computing dtype. The product becomes g G / c^2 + factor B: one rounding, also to bfloat16.

Gradients and bases are of dtype ``OWN``, and all is computed in ``DTYPE``: float64 for float64, else float32. This
module needs triton and is imported only where a kernel is launched.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _add(a, b):
    return a + b


@triton.jit
def _positions(numbers, inner, TAPS: tl.constexpr):
    """Return where slices begin in a tensor whose taps lie ``inner`` apart."""
    return (numbers // inner) * inner * TAPS + numbers % inner


@triton.jit
def _work(
    addresses, geometry, programs, out, TAPS: tl.constexpr, BLOCK: tl.constexpr, OWN: tl.constexpr, DTYPE: tl.constexpr
):
    """Return a program's slices: which, whether they exist, gradient, base, output, the strides of taps, more."""
    program = tl.program_id(0)
    tensor = tl.load(programs + 2 * program)
    numbers = tl.load(programs + 2 * program + 1) + tl.arange(0, BLOCK)
    row, place = geometry + 4 * tensor, addresses + 5 * tensor
    inside = numbers < tl.load(row)
    step, base_step = tl.load(row + 2), tl.load(row + 3)
    pointer: tl.constexpr = tl.pointer_type(OWN)
    own = _positions(numbers, step, TAPS)
    gradient = tl.load(place).to(pointer) + own
    base = tl.load(place + 1).to(pointer) + _positions(numbers, base_step, TAPS)
    bits = tl.load(place + 4)
    if DTYPE == tl.float64:
        factor = bits.to(tl.float64, bitcast=True)
    else:
        factor = bits.to(tl.int32).to(tl.float32, bitcast=True)
    target = out + tl.load(row + 1) + own
    return numbers, inside, gradient, base, target, step, base_step, tl.load(place + 2), tl.load(place + 3), factor


@triton.jit
def _inverse_roots(root, numbers, inside, DTYPE: tl.constexpr):
    """Return 1 / c of slices; one where there is no table of roots."""
    there = inside & (tl.broadcast_to(root, numbers.shape) != 0)
    return 1.0 / tl.load(root.to(tl.pointer_type(DTYPE)) + numbers, mask=there, other=1.0)


@triton.jit
def slices_in_registers(
    addresses,
    geometry,
    programs,
    out,
    NEIGHBOURS: tl.constexpr,
    TAPS: tl.constexpr,
    SHIFTS: tl.constexpr,
    BLOCK: tl.constexpr,
    OWN: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Rewrite gradients of blocks of one slice, (g P^T) P / c^2, a slice per lane, all its numbers in registers.

    ``NEIGHBOURS[d * TAPS + y]`` is the tap at y + d - r, or -1 outside of the slice.
    """
    numbers, inside, gradient, base, target, step, base_step, root, _, factor = _work(
        addresses, geometry, programs, out, TAPS, BLOCK, OWN, DTYPE
    )
    inverse = _inverse_roots(root, numbers, inside, DTYPE)
    g = ()
    b = ()
    for y in tl.static_range(TAPS):
        g = g + (tl.load(gradient + y * step, mask=inside, other=0.0).to(DTYPE),)
        b = b + (tl.load(base + y * base_step, mask=inside, other=0.0).to(DTYPE),)
    weights = ()
    for d in tl.static_range(SHIFTS):
        weight = tl.full((BLOCK,), 0.0, DTYPE)
        for y in tl.static_range(TAPS):
            if NEIGHBOURS[d * TAPS + y] >= 0:
                weight += g[y] * b[NEIGHBOURS[d * TAPS + y]]
        weights = weights + (weight * inverse * inverse,)  # the square of a root may overflow
    for y in tl.static_range(TAPS):
        moved = tl.full((BLOCK,), 0.0, DTYPE)
        for d in tl.static_range(SHIFTS):
            if NEIGHBOURS[d * TAPS + y] >= 0:
                moved += weights[d] * b[NEIGHBOURS[d * TAPS + y]]
        moved += factor * b[y]
        tl.store(target + y * step, moved.to(out.dtype.element_ty), mask=inside)


@triton.jit
def slices_in_tiles(
    addresses,
    geometry,
    programs,
    out,
    K0: tl.constexpr,
    K1: tl.constexpr,
    K2: tl.constexpr,
    M0: tl.constexpr,
    M1: tl.constexpr,
    M2: tl.constexpr,
    TAPS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    OWN: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """The same for slices of many taps: a slice per row of a tile, its shifted base read from cache at every shift."""
    numbers, inside, gradient, base, target, step, base_step, root, _, factor = _work(
        addresses, geometry, programs, out, TAPS, BLOCK, OWN, DTYPE
    )
    inverse = _inverse_roots(root, numbers, inside, DTYPE)
    y = tl.arange(0, WIDTH)
    there = inside[:, None] & (y < TAPS)[None, :]
    g = tl.load(gradient[:, None] + (y * step)[None, :], mask=there, other=0.0).to(DTYPE)
    b = tl.load(base[:, None] + (y * base_step)[None, :], mask=there, other=0.0).to(DTYPE)
    moved = factor * b
    for d in range(M0 * M1 * M2):
        y0 = y // (K1 * K2) + d // (M1 * M2) - M0 // 2
        y1 = y // K2 % K1 + d // M2 % M1 - M1 // 2
        y2 = y % K2 + d % M2 - M2 // 2
        valid = (y0 >= 0) & (y0 < K0) & (y1 >= 0) & (y1 < K1) & (y2 >= 0) & (y2 < K2)
        shifted = (y0 * K1 + y1) * K2 + y2
        kept = there & valid[None, :]
        p = tl.load(base[:, None] + (shifted * base_step)[None, :], mask=kept, other=0.0).to(DTYPE)
        weight = tl.reduce(g * p, 1, _add) * inverse * inverse
        moved += weight[:, None] * p
    tl.store(target[:, None] + (y * step)[None, :], moved.to(out.dtype.element_ty), mask=there)


@triton.jit
def rows(
    addresses,
    geometry,
    programs,
    out,
    TAPS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    OWN: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Multiply every slice by the Gram of its block, in full precision; the blocks of slices stand in a table."""
    numbers, inside, gradient, base, target, step, base_step, gram, owners, factor = _work(
        addresses, geometry, programs, out, TAPS, BLOCK, OWN, DTYPE
    )
    listed = inside & (tl.broadcast_to(owners, numbers.shape) != 0)  # without a table all are of the first block
    block = tl.load(owners.to(tl.pointer_type(tl.int32)) + numbers, mask=listed, other=0).to(tl.int64)
    x = tl.arange(0, WIDTH)
    there = inside[:, None] & (x < TAPS)[None, :]
    b = tl.load(base[:, None] + (x * base_step)[None, :], mask=there, other=0.0).to(DTYPE)
    moved = factor * b
    matrix = gram.to(tl.pointer_type(DTYPE)) + (block * TAPS * TAPS)[:, None] + x[None, :]
    for y in range(TAPS):
        g = tl.load(gradient + y * step, mask=inside, other=0.0).to(DTYPE)
        moved += g[:, None] * tl.load(matrix + y * TAPS, mask=there, other=0.0)
    tl.store(target[:, None] + (x * step)[None, :], moved.to(out.dtype.element_ty), mask=there)
