"""What tests of exports share."""

import functools

import pytest


@pytest.fixture(scope="session", autouse=True)
def operators_of_onnx():
    """Let torch look up its operators of ONNX once, which takes half of the time of an export."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield
