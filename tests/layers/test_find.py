"""Finding and naming kernels."""

import torch
from torch import nn
from torch.nn.utils import parametrizations

from networks import EveryKind, Repeated, Shared
from refconv.layers import find_layers


def test_find_sites_names_kinds_and_families():
    found = {layer.name: (layer.kind, layer.family, layer.kernel_size) for layer in find_layers(EveryKind())}
    assert found == {
        "stem": ("dense", "conv", (3, 3)),
        "depthwise": ("depthwise", "conv", (5, 5)),
        "grouped": ("grouped", "conv", (1, 4)),
        "pointwise": ("pointwise", "conv", (1, 1)),
        "up": ("grouped", "transposed", (3, 3)),
    }


def test_find_sites_knows_one_and_three_dimensions_and_the_model_itself():
    assert find_layers(nn.Conv1d(4, 4, 5, groups=4))[0].kernel_size == (5,)
    layer = find_layers(nn.ConvTranspose3d(4, 2, 3))[0]
    assert (layer.name, layer.label, layer.shape) == ("", "(the model itself)", (4, 2, 3, 3, 3))


def test_find_sites_reports_who_shares_a_kernel():
    shared = {layer.name: layer.shared_with for layer in find_layers(Shared())}
    assert shared == {"a": ("b.weight",), "b": ("a.weight",)}


def test_find_sites_reports_sharing_with_something_that_is_no_convolution():
    model = Repeated()
    model.copy = nn.Module()
    model.copy.kernel = model.conv.weight
    assert find_layers(model)[0].shared_with == ("copy.kernel",)


def test_find_sites_counts_an_aliased_module_once():
    conv = nn.Conv2d(3, 3, 3)
    model = nn.ModuleDict({"a": conv, "b": conv})
    assert [(layer.name, layer.shared_with) for layer in find_layers(model)] == [("a", ())]


def test_find_sites_says_why_a_kernel_cannot_be_transformed():
    orthogonal = parametrizations.orthogonal(nn.Conv2d(3, 3, 3))
    no_base = "its kernel is computed from tensors that are no kernel, by _Orthogonal"
    assert find_layers(orthogonal)[0].obstacle == no_base
    whole = nn.Conv2d(3, 3, 3)
    whole.weight = nn.Parameter(torch.zeros(3, 3, 3, 3, dtype=torch.int64), requires_grad=False)
    assert find_layers(whole)[0].obstacle == "its weight is of type int64"
    bare = nn.Conv2d(3, 3, 3)
    value = bare.weight.detach()
    del bare.weight
    bare.weight = value
    assert find_layers(bare)[0].obstacle == "its weight is not a parameter"


def test_find_sites_works_on_meta_and_lazy_modules():
    with torch.device("meta"):
        assert find_layers(nn.Conv2d(3, 8, 3))[0].obstacle is None
    assert find_layers(nn.LazyConv2d(8, 3))[0].kind == "dense"
