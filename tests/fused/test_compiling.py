"""Every variant of the Triton kernels is compiled for NVIDIA's and AMD's GPUs, which takes no GPU."""

import pytest
import torch

from refconv.fused.launching import DTYPES, for_rows, for_slices, rewrite_rows, rewrite_slices

triton = pytest.importorskip("triton", reason="triton is not installed")

pytestmark = pytest.mark.slow

TARGETS = {"sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
TYPES = dict(zip(DTYPES, ("fp32", "bf16", "fp16", "fp64"), strict=True))
VARIANTS = {
    "3 x 3": for_slices((3, 3), (3, 3)),
    "3 x 3, map 5": for_slices((3, 3), (5, 5)),
    "3": for_slices((3,), (3,)),
    "1 x 11": for_slices((1, 11), (1, 3)),
    "2 x 2": for_slices((2, 2), (3, 3)),
    "5 x 5": for_slices((5, 5), (3, 3)),
    "5 x 5, map 5": for_slices((5, 5), (5, 5)),
    "7 x 7": for_slices((7, 7), (3, 3)),
    "7 x 7, map 5": for_slices((7, 7), (5, 5)),
    "3 x 3 x 3": for_slices((3, 3, 3), (3, 3, 3)),
    "5 x 5 x 5": for_slices((5, 5, 5), (3, 3, 3)),
    "7 x 7 x 7": for_slices((7, 7, 7), (3, 3, 3)),
    "rows of 9": for_rows(9),
    "rows of 25": for_rows(25),
    "rows of 49": for_rows(49),
}


def compiled(variant, dtype, target, out=None):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from refconv.fused import triton_kernels

    backend, architecture, width = TARGETS[target]
    if {"cuda": "nvidia", "hip": "amd"}[backend] not in triton.backends.backends:
        pytest.skip(f"this triton has no backend for {target}")
    kernel = getattr(triton_kernels, variant.name)
    constants = {**variant.constants, **variant.types(dtype), "BLOCK": variant.block}
    signature = dict.fromkeys(kernel.arg_names, "constexpr")
    signature |= {"addresses": "*i64", "geometry": "*i64", "programs": "*i64", "out": f"*{TYPES[out or dtype]}"}
    options = {"enable_fp_fusion": True, "num_warps": 128 // width}
    target = GPUTarget(backend, architecture, width)
    return triton.compile(ASTSource(kernel, signature, constexprs=constants), target=target, options=options).asm


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kernel_compiles(name, target, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert compiled(VARIANTS[name], torch.float32, target)[{"sm_90": "cubin", "gfx942": "hsaco"}[target]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("name", ["1 x 11", "7 x 7", "rows of 9"])
def test_every_dtype_compiles(name, dtype, target, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for out in ({}, {"out": torch.promote_types(dtype, torch.float32)}):
        assert compiled(VARIANTS[name], dtype, target, **out)[{"sm_90": "cubin", "gfx942": "hsaco"}[target]]


def test_bfloat16_is_rounded_to_nearest_and_nothing_is_computed_in_tf32(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for name in ("1 x 11", "7 x 7", "rows of 9"):
        ptx = compiled(VARIANTS[name], torch.bfloat16, "sm_90")["ptx"]
        assert "cvt.rn.bf16" in ptx
        assert "cvt.rz.bf16" not in ptx
        assert "tf32" not in ptx
        assert "fma.rn.f32" in ptx or "fma.rn.f32x2" in ptx


def test_slices_in_registers_read_each_number_once(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    ptx = compiled(VARIANTS["3 x 3"], torch.float32, "sm_90")["ptx"]
    assert ptx.count("st.global") == 9
    assert ptx.count("ld.global.b32") == 9 + 9 + 1  # gradient, base, root
    assert ".local" not in ptx  # nothing is spilled


class OneDevice:
    """What Triton asks a driver for before it launches."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget(*TARGETS["sm_90"])


def test_launches_give_their_kernels_what_they_take(monkeypatch, tmp_path):
    """All of a launch but the last call: arguments, options and types are those of a compiled kernel."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = []

    def prepared(kernel, grid):
        def launch(*given, **more):
            made.append((kernel.fn.__name__, grid, kernel.warmup(*given, **more, grid=grid).asm["cubin"]))

        return launch

    monkeypatch.setattr(JITFunction, "__getitem__", prepared)
    gradients = [torch.ones(300, 2, 1, 11, dtype=torch.bfloat16), torch.ones(1, 1, 1, 11, dtype=torch.bfloat16)]
    monkeypatch.setattr(driver, "_active", OneDevice())
    for unrolled in (True, False):
        rewrite_slices(gradients, gradients, (1, 11), (1, 3), [None, None], factor=0.1, unrolled=unrolled)
    grams = [torch.ones(1, 11, 11)] * 2
    found = rewrite_rows(gradients, gradients, grams, [None, None], 11, dtype=torch.float32)
    assert [one[:2] for one in made] == [("slices_in_registers", (6,)), ("slices_in_tiles", (11,)), ("rows", (11,))]
    assert all(one[2] for one in made)
    assert [one.dtype for one in found] == [torch.float32] * 2
