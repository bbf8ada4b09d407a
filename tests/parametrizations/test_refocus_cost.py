"""What refocusing computes and what it does not: counted operations, not times."""

import pytest
import torch
from torch import nn

import refconv
from networks import Repeated
from operations import Operations


def kernel_and_backward(model):
    with Operations() as forward:
        kernel = model[0].weight
    with Operations() as backward:
        kernel.backward(torch.ones_like(kernel))
    return forward, backward


@pytest.mark.parametrize("groups", [8, 4])
def test_blocks_of_several_slices_take_one_product_each_way(groups):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=groups))
    refconv.refocus(model)
    forward, backward = kernel_and_backward(model)
    assert (forward.count("bmm", "mm"), forward.count("convolution")) == (1, 0)
    assert (backward.count("bmm", "mm"), backward.count("convolution_backward")) == (1, 0)


def test_dense_sites_take_one_convolution_and_its_weight_gradient_only():
    model = nn.Sequential(nn.Conv2d(8, 8, 3))
    refconv.refocus(model, scale="normalized")
    forward, backward = kernel_and_backward(model)
    assert (forward.count("bmm", "mm"), forward.count("convolution")) == (0, 1)
    (masks,) = [args[-1] for name, args in backward.calls if name == "convolution_backward"]
    assert list(masks) == [False, True, False]  # not by the base, not by a bias


def test_the_kernel_of_a_module_that_runs_several_times_is_computed_once():
    model = nn.Sequential(Repeated())
    refconv.refocus(model)
    with Operations() as forward:
        loss = model(torch.randn(1, 4, 6, 6)).sum()
    with Operations() as backward:
        loss.backward()
    assert forward.count("bmm", "mm") == 1
    assert backward.count("bmm", "mm") == 1


def test_patches_are_not_made_again_in_a_step():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    refconv.refocus(model, scale="normalized", power=0.5)
    with Operations() as step:
        model(torch.randn(1, 8, 5, 5)).sum().backward()
    assert step.count("unfold", "_linalg_eigh", "constant_pad_nd") == 0
    assert not any(isinstance(a, torch.Tensor) and a.dtype == torch.float64 for _, args in step.calls for a in args)
