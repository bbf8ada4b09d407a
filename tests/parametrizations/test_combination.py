"""Combination: linear combinations of the frozen filters."""

import torch
from torch import nn

import refconv
from refconv.surgery.refocusing import transform_of
from transforms import disturb, transform_on


def test_output_of_a_dense_layer_is_the_frozen_layer_followed_by_a_pointwise_one():
    """The paper's form: frozen filters, then a trained 1 x 1 convolution over their outputs."""
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, bias=False).double()
    base = module.weight.detach().clone()
    transform = transform_on("combination", module)
    disturb(module)
    batch = torch.randn(2, 4, 8, 8).double()
    features = nn.functional.conv2d(batch, base)
    expected = nn.functional.conv2d(features, transform.coefficients[0, :, :, None, None])
    torch.testing.assert_close(module(batch), expected)
    turned = nn.functional.conv2d(features, transform.coefficients[0].T[:, :, None, None])
    assert not torch.allclose(module(batch), turned)


def test_rows_are_mixed_across_groups_while_groups_are_kept():
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, groups=4).double()
    base = module.weight.detach().clone()
    transform = transform_on("combination", module)
    disturb(module)
    torch.testing.assert_close(module.weight, torch.einsum("op,pixy->oixy", transform.coefficients[0], base))


def test_filters_of_a_transposed_kernel_go_by_output_channel_within_each_group():
    torch.manual_seed(0)
    module = nn.ConvTranspose2d(4, 6, 3, groups=2).double()  # stored [4, 3, 3, 3]: in, out // groups
    base = module.weight.detach().clone()
    transform = transform_on("combination", module)
    disturb(module)
    filters = [base[2 * (out // 3) : 2 * (out // 3) + 2, out % 3] for out in range(6)]  # [in // groups, 3, 3] each
    for out in range(6):
        mixed = sum(transform.coefficients[0, out, other] * filters[other] for other in range(6))
        start = 2 * (out // 3)
        torch.testing.assert_close(module.weight[start : start + 2, out % 3], mixed)


def test_for_depthwise_kernels_it_is_refocusing_with_a_map_of_one_tap():
    torch.manual_seed(0)
    module, other = (nn.Conv2d(6, 6, 3, groups=6).double() for _ in range(2))
    other.load_state_dict(module.state_dict())
    transform = transform_on("combination", module)
    refconv.refocus(other, map_size=1)
    disturb(module)
    with torch.no_grad():
        transform_of(other).refocus_weight.copy_(transform.coefficients - torch.eye(6))
    torch.testing.assert_close(module.weight, other.weight)
