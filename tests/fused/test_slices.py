"""The compiled loops over slices against torch's operations, in every dtype, layout and setting."""

import itertools
import multiprocessing

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import refconv
from ops_reference import reference_gram
from refconv.fused import slices
from refconv.ops import apply_gram_by_convolution

GEOMETRIES = [
    ((3, 3), (3, 3)),
    ((3, 3), (5, 5)),
    ((5, 5), (3, 3)),
    ((7, 7), (5, 5)),
    ((2, 2), (3, 3)),
    ((1, 11), (1, 3)),
    ((4, 3), (3, 5)),
    ((9,), (3,)),
    ((3, 3, 3), (3, 3, 3)),
    ((1, 1), (1, 1)),
]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile here, not where tests are collected: all workers of pytest-xdist do that at the same time."""
    if not slices.fits((3,), (3,), torch.zeros(1)):
        pytest.skip("no C compiler")


def kernels(kernel_size, number, dtype=torch.float64, shape=(7, 5)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, *kernel_size, generator=generator, dtype=dtype) for _ in range(number)]


def by_convolution(gradient, base, kernel_size, map_size):
    taps = torch.Size(kernel_size).numel()
    own, blocks = (one.reshape(-1, 1, taps) for one in (gradient, base))
    return apply_gram_by_convolution(own, blocks, kernel_size, map_size).reshape(gradient.shape)


@pytest.mark.parametrize(
    ("kernel_size", "map_size"), [((3, 3), (3, 3)), ((2, 3), (3, 1)), ((5,), (5,)), ((1, 1), (1, 1))]
)
def test_product_with_the_gram_is_the_slow_one(kernel_size, map_size):
    gradient, base = kernels(kernel_size, 2, shape=(1, 3))
    found = slices.multiply(gradient, base, kernel_size, map_size)
    for g, b, out in zip(gradient[0], base[0], found[0], strict=True):
        expected = (g.flatten() @ reference_gram([b], map_size)).reshape(kernel_size)
        torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-13)
        assert (out - (g.flatten() @ reference_gram([b.flip(-1)], map_size)).reshape(kernel_size)).abs().max() > (
            1e-3 if max(kernel_size) > 1 else -1
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel_size", "map_size"), GEOMETRIES)
def test_every_number_of_slices_gives_what_convolutions_give(kernel_size, map_size, dtype):
    """An entry is a sum of k t products of three numbers, each rounded once or twice."""
    terms = torch.Size(kernel_size).numel() * torch.Size(map_size).numel()
    for shape in [(1, 1), (3, 5), (4, 4), (7, 11)]:
        gradient, base = kernels(kernel_size, 2, dtype, shape)
        found = slices.multiply(gradient, base, kernel_size, map_size)
        exact = by_convolution(gradient.double(), base.double(), kernel_size, map_size)
        sizes = by_convolution(gradient.double().abs(), base.double().abs(), kernel_size, map_size)
        computed = torch.float64 if dtype == torch.float64 else torch.float32
        within = 2 * terms * torch.finfo(computed).eps * sizes + torch.finfo(dtype).eps * exact.abs()
        assert ((found.double() - exact).abs() <= within).all()


def test_slices_of_channels_last_kernels_are_the_same_slices():
    for kernel_size, last in [((3, 3), torch.channels_last), ((3, 3, 3), torch.channels_last_3d)]:
        gradient, base = kernels(kernel_size, 2, shape=(3, 19))
        root = torch.rand(3 * 19, dtype=torch.float64) + 0.5
        expected = slices.multiply(gradient, base, kernel_size, kernel_size, root=root)
        found = slices.multiply(gradient.to(memory_format=last), base, kernel_size, kernel_size, root=root)
        assert found.is_contiguous(memory_format=last)
        assert torch.equal(found, expected)


def test_damping_adds_a_multiple_of_each_slices_gradient_in_the_same_pass(monkeypatch):
    gradient, base = kernels((3, 3), 2, shape=(3, 19))
    root, shift = torch.rand(2, 3 * 19, dtype=torch.float64) + 0.5
    plain = slices.multiply(gradient, base, (3, 3), (3, 3), root=root)
    found = slices.multiply(gradient, base, (3, 3), (3, 3), root=root, shift=shift)
    torch.testing.assert_close(found, plain + shift.reshape(3, 19, 1, 1) * gradient)
    taken, step = [], slices.step
    monkeypatch.setattr(slices, "step", lambda *args, **more: (taken.append(more["shift"]), step(*args, **more)))
    model = nn.Conv2d(5, 7, 3)
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, damping=0.5), lr=0.05)
    model(torch.randn(2, 5, 6, 6)).square().mean().backward()
    optimizer.step()
    assert [one.shape for one in taken] == [(35, 1, 1)]


def test_scales_divide_twice_without_overflow():
    gradient, base = kernels((3, 3), 2, torch.float32)
    root = torch.full((35,), 1e25)
    found = slices.multiply(gradient, base * 1e25, (3, 3), (3, 3), root=root)
    torch.testing.assert_close(found, slices.multiply(gradient, base, (3, 3), (3, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("decay", ["refocus", "kernel", "none"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.3, "maximize": True},
        {"maximize": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(("zeros", "damping"), [("fill", 0.0), ("keep", 0.0), ("fill", 0.5), ("keep", 0.5)])
def test_steps_are_those_of_torchs_optimizer(settings, decay, memory_format, zeros, damping, monkeypatch):
    def trained(loops):
        torch.manual_seed(0)
        model = nn.Conv2d(5, 7, 3).double().to(memory_format=memory_format)
        with torch.no_grad():
            model.weight[0, 0, 0] = 0
        groups = refconv.param_groups(model, 0.1, decay=decay, zeros=zeros, scale="normalized", damping=damping)
        optimizer = refconv.RefocusSGD(groups, lr=0.05, **settings)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(2, 5, 6, 6, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
        return model.weight.detach(), optimizer.state_dict()["state"]

    found, state = trained(True)
    monkeypatch.setattr(slices, "fits", lambda *_: False)
    expected, expected_state = trained(False)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert found.stride() == expected.stride()
    for key, values in expected_state.items():
        assert values.keys() == state[key].keys()
        for name, value in values.items():
            torch.testing.assert_close(state[key][name], value, rtol=1e-12, atol=1e-14)


def test_steps_in_bfloat16_round_what_float32_gives_once():
    kernel, gradient, buffer, base = kernels((3, 3), 4, torch.bfloat16)
    rule = slices.Rule(0.1, 0.9, 0.0, False, 0.01, 1.0, 1.0, False)
    wide = [one.float() for one in (kernel, gradient, buffer, base)]
    slices.step(kernel, gradient, buffer, base, (3, 3), (3, 3), rule)
    # the kernel moves by the momentum before that is rounded
    slices.step(*wide, (3, 3), (3, 3), rule)
    assert torch.equal(buffer, wide[2].bfloat16())
    assert torch.equal(kernel, wide[0].bfloat16())
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, 1e-40]).bfloat16()
    out = slices.multiply(special.reshape(5, 1, 1, 1), torch.ones(5, 1, 1, 1).bfloat16(), (1, 1), (1, 1)).flatten()
    assert torch.equal(out.isnan(), special.isnan())
    assert torch.equal(out[1:], special[1:])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of fork, since Python 3.12
def test_results_do_not_depend_on_threads_and_forked_processes_have_their_own():
    gradient, base = kernels((3, 3), 2, torch.float32, (300, 3 * slices._SHARE // 300 + 1))
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(slices.multiply(gradient, base, (3, 3), (3, 3)))
        assert slices._threads is not None
        if "fork" in multiprocessing.get_all_start_methods():
            with multiprocessing.get_context("fork").Pool(1) as pool:
                same = pool.apply_async(_same_in_fork, (gradient, base, results[0])).get(60)
                assert same
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


def _same_in_fork(gradient, base, expected):
    found = slices.multiply(gradient, base, (3, 3), (3, 3))
    torch.set_num_threads(1)  # OpenMP's threads, which torch would compare with, are not there after a fork
    return torch.equal(found, expected)


def test_autograd_notices_that_a_kernel_has_changed():
    kernel, gradient, base = kernels((3, 3), 3)
    kernel.requires_grad_()
    loss = kernel.square().sum()
    with torch.no_grad():
        slices.step(kernel, gradient, None, base, (3, 3), (3, 3), slices.Rule(0.1, 0, 0, False, 0, 1, 0, True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_the_loops_cannot_do_is_left_to_torch():
    one = torch.zeros(2, 2, 3, 3)
    assert slices.fits((3, 3), (3, 3), one, nn.Parameter(one))
    others = [one.half(), one.cfloat(), one.to("meta"), one.to_sparse(), one.double(), one.cfloat().conj().imag]
    assert not any(slices.fits((3, 3), (3, 3), one, other) for other in others)
    assert not slices.fits((31, 31), (3, 3), one)
    with FlopCounterMode(display=False):
        assert not slices.fits((3, 3), (3, 3), one)
    torch.func.vmap(lambda part: [part, None][slices.fits((3,), (3,), part)])(one)
    strided = one.permute(1, 0, 3, 2)
    assert slices.place(strided, 9) is None
    assert torch.equal(slices.multiply(strided, strided, (3, 3), (3, 3)), strided)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own, at forward mode
@pytest.mark.parametrize(("kernel_size", "map_size"), GEOMETRIES[:3])
def test_halves_are_each_others_derivatives_of_any_order(kernel_size, map_size):
    from refconv.ops import adjoint_slices, refocus_by_convolution, refocus_slices

    taps, shifts = (torch.Size(sizes).numel() for sizes in (kernel_size, map_size))
    torch.manual_seed(0)
    blocks = torch.randn(19, 1, taps, dtype=torch.float64)
    weight = torch.randn(19, 1, shifts, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn_like(blocks, requires_grad=True)
    moved = refocus_slices(weight, blocks, kernel_size, map_size)
    assert type(moved.grad_fn).__name__ == "_RefocusedBackward"
    torch.testing.assert_close(moved, refocus_by_convolution(weight, blocks, kernel_size, map_size))
    torch.testing.assert_close(refocus_slices(weight, blocks, kernel_size, map_size, add=True), blocks + moved)
    for function, given in ((refocus_slices, weight), (adjoint_slices, gradient)):

        def of(one, function=function):
            return function(one, blocks, kernel_size, map_size)

        assert torch.autograd.gradcheck(of, given, check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda one, of=of: of(one).square(), given, fast_mode=True)
    base = blocks.clone().requires_grad_()  # a base that trains, as no layer has it
    found = torch.autograd.grad(refocus_slices(weight, base, kernel_size, map_size).square().sum(), base)[0]
    expected = torch.autograd.grad(refocus_by_convolution(weight, base, kernel_size, map_size).square().sum(), base)[0]
    torch.testing.assert_close(found, expected)


def test_a_base_is_added_last_so_that_small_movements_are_rounded_once():
    weight, base = torch.randn(40, 1, 9) * 1e-6, torch.randn(40, 1, 9)
    found = slices.refocused(weight, base, (3, 3), (3, 3), add=True)
    exact = base.double() + slices.refocused(weight.double(), base.double(), (3, 3), (3, 3))
    assert ((found.double() - exact).abs() <= 0.51 * torch.finfo(torch.float32).eps * exact.abs() + 1e-12).all()


def test_geometry_lists_each_pair_of_taps_under_each_shift_once():
    pairs = list(slices._pairs((3, 3), (3, 3)))
    assert [len(shift) for shift in pairs] == [4, 6, 4, 6, 9, 6, 4, 6, 4]
    for shift, (dy, dx) in zip(pairs, itertools.product((-1, 0, 1), repeat=2), strict=True):
        assert all(source == to + 3 * dy + dx for to, source in shift)
