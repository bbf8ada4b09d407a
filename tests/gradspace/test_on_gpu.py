"""Steps on a GPU: equal to those of the CPU, without waiting for the device, and capturable in CUDA graphs."""

import pytest
import torch
from torch import nn

import refconv
from refconv.fused.launching import DTYPES, launches, rewrite_rows, rewrite_slices
from refconv.gradspace import batching
from refconv.ops import apply_gram_by_convolution

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA or ROCm device"),
]
GPU = torch.device("cuda")
LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZES = [((3, 3), (3, 3)), ((3, 3), (5, 5)), ((1, 11), (1, 3)), ((7, 7), (3, 3)), ((5,), (3,)), ((3, 3, 3), (3, 3, 3))]


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 7, groups=32), nn.GELU()]
    layers += [nn.Conv2d(32, 48, 3, groups=4), nn.GELU(), nn.Conv2d(48, 64, 3), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


def made(device, dtype=torch.float64, layout=torch.contiguous_format, **settings):
    model = network().to(device, dtype, memory_format=layout)
    groups = refconv.param_groups(model, weight_decay=0.01)
    return model, refconv.RefocusSGD(groups, lr=0.05, momentum=0.9, **settings)


def backward(model, step):
    torch.manual_seed(step)
    parameter = next(model.parameters())
    images = torch.randn(4, 3, 20, 20, dtype=torch.float64).to(parameter)
    nn.functional.cross_entropy(model(images).float(), torch.arange(4, device=parameter.device)).backward()


def trained(model, optimizer, steps=5):
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step()
    return model


@pytest.mark.parametrize("unrolled", [True, False], ids=["registers", "tiles"])
@pytest.mark.parametrize("layout", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("kernel_size", "map_size"), SIZES, ids=str)
def test_slices_are_rewritten_as_by_convolution(kernel_size, map_size, dtype, layout, unrolled):
    if unrolled and torch.Size(kernel_size).numel() * torch.Size(map_size).numel() > 256:
        pytest.skip("too many products to compile them one by one")
    assert launches(GPU)
    torch.manual_seed(0)
    gradients = [torch.randn(*count, *kernel_size, device=GPU).to(dtype) for count in ((64, 3), (100, 70), (1, 1))]
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(kernel_size))
    if layout and last is not None:
        gradients = [gradient.contiguous(memory_format=last) for gradient in gradients]
    bases = [torch.randn_like(gradient) for gradient in gradients]
    computing, taps = torch.promote_types(dtype, torch.float32), torch.Size(kernel_size).numel()
    roots = [None, 1 + torch.rand(7000, 1, 1, device=GPU, dtype=computing), None]
    settings = {"factor": -0.3, "unrolled": unrolled}
    found = rewrite_slices(gradients, bases, kernel_size, map_size, roots, **settings)
    wide = rewrite_slices(gradients, bases, kernel_size, map_size, roots, **settings, dtype=computing)
    for out, exact, gradient, base, root in zip(found, wide, gradients, bases, roots, strict=True):
        g, b = (one.double().reshape(-1, 1, taps).cpu() for one in (gradient, base))
        c = None if root is None else root.double().cpu()
        reference = apply_gram_by_convolution(g, b, kernel_size, map_size, c) - 0.3 * b
        off = (exact.double().cpu().reshape(reference.shape) - reference).abs().max() / reference.abs().max()
        assert off < 64 * torch.finfo(computing).eps
        assert torch.equal(out, exact.to(dtype))  # rounded once, to nearest
        assert out.stride() == gradient.stride()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("taps", [3, 9, 49, 121])
def test_rows_are_multiplied_in_full_precision(taps, dtype):
    torch.manual_seed(0)
    computing = torch.promote_types(dtype, torch.float32)
    gradients = [torch.randn(count, 1, taps, device=GPU).to(dtype) for count in (960, 33)]
    grams = [torch.randn(blocks, taps, taps, device=GPU, dtype=computing) for blocks in (1, 11)]
    owners = [None, torch.arange(33, dtype=torch.int32, device=GPU) // 3]
    found = rewrite_rows(gradients, gradients, grams, owners, taps, dtype=computing)
    for out, gradient, gram, owner in zip(found, gradients, grams, owners, strict=True):
        chosen = gram.double() if owner is None else gram[owner.long()].double()
        reference = gradient.double() @ chosen
        off = (out.double() - reference).abs().max() / reference.abs().max()
        assert off < 4 * taps * torch.finfo(computing).eps


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("how", ["triton", "torch"])
def test_training_on_a_gpu_is_that_on_a_cpu(how, layout, monkeypatch):
    expected = trained(*made("cpu", layout=layout, max_norm=0.5))
    monkeypatch.setattr(batching, "way", lambda device: "alone" if device.type == "cpu" else how)
    found = trained(*made(GPU, layout=layout, max_norm=0.5))
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-9, atol=1e-11)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_a_step_of_bfloat16_and_float32_does_not_wait_for_the_device(max_norm, layout):
    for dtype in (torch.bfloat16, torch.float32):
        model, optimizer = made(GPU, dtype, layout, max_norm=max_norm)
        trained(model, optimizer, 2)
        optimizer.zero_grad()
        backward(model, 2)
        moved = [parameter.detach().clone() for parameter in model.parameters()]  # other addresses of gradients
        torch.cuda.set_sync_debug_mode("error")
        try:
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert all(parameter.isfinite().all() for parameter in model.parameters())
        assert not torch.equal(moved[0], next(model.parameters()))


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_a_step_is_captured_and_replayed_with_new_gradients(max_norm):
    (model, optimizer), (other, own) = made(GPU, max_norm=max_norm), made(GPU, max_norm=max_norm)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in range(2):
            optimizer.zero_grad(set_to_none=False)
            backward(model, step)
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    trained(other, own, 2)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(2, 5):
        optimizer.zero_grad(set_to_none=False)
        backward(model, step)
        graph.replay()
        own.zero_grad()
        backward(other, step)
        own.step()
    for one, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, reference, rtol=1e-9, atol=1e-11)


def test_a_whole_training_step_is_captured():
    (model, optimizer), (other, own) = made(GPU), made(GPU)
    images = torch.randn(4, 3, 20, 20, device=GPU, dtype=torch.float64)
    labels = torch.arange(4, device=GPU)

    def step(model, optimizer):
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(model, optimizer)
    torch.cuda.current_stream().wait_stream(side)
    for _ in range(3):
        step(other, own)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step(model, optimizer)
    for _ in range(3):
        images.normal_()
        graph.replay()
        step(other, own)  # eager steps between replays use tables of their own
    for one, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, reference, rtol=1e-9, atol=1e-11)
