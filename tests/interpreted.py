"""The Triton kernels interpreted on the CPU, for tests: a fixture, so that nothing else is interpreted."""

import pytest


@pytest.fixture
def interpreted(monkeypatch):
    """Run the kernels in Triton's interpreter, on tensors of the CPU, and let the optimizer launch them there."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    from refconv.fused import launching, triton_kernels
    from refconv.gradspace import batching

    for name, kernel in list(vars(triton_kernels).items()):
        if isinstance(kernel, JITFunction):
            own = InterpretedFunction(kernel.fn)
            # a function called by a kernel must be plain: called as it is, it would leave the language patched
            monkeypatch.setattr(triton_kernels, name, own.rewrite() if name.startswith("_") else own)
    # what the interpreter knows for a sum, where it would go on number by number
    monkeypatch.setattr(triton_kernels, "_add", triton.language.standard._sum_combine)
    monkeypatch.setattr(batching, "way", lambda device: "triton")
    monkeypatch.setattr(launching, "_LANES", 16)  # small programs, so that layers have several
    monkeypatch.setattr(launching, "_TILE", 64)
    return launching
