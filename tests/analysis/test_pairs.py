"""The kernels of models side by side: read in float64, in the right order, refused in one line."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, Shared
from refconv.analysis.pairs import find_kernels, pair_kernels, sampled
from refconv.errors import ModelError


def test_kernels_are_copies_in_float64_and_the_model_is_left_as_found(state_of):
    model = EveryKind().half()
    state = state_of(model)
    kernels = find_kernels(model)
    assert [kernel.layer for kernel in kernels] == ["stem", "depthwise", "grouped", "up"]
    for kernel in kernels:
        assert kernel.weight.dtype == torch.float64
        kernel.weight.zero_()
    assert state.unchanged()


@pytest.mark.parametrize("transposed", [False, True])
def test_filters_are_the_kernels_of_output_channels(transposed):
    """A filter's row multiplies what its output channel sees: checked through the convolution itself."""
    torch.manual_seed(0)
    conv = (nn.ConvTranspose2d if transposed else nn.Conv2d)(4, 6, 3, groups=2, bias=False).double()
    (kernel,) = find_kernels(conv)
    assert kernel.filters.shape == (6, 2 * 9)
    seen = torch.zeros(6, 4, 3, 3, dtype=torch.float64)  # what reaches an output channel from each input channel
    for channel in range(4):
        image = torch.zeros(1, 4, 5, 5, dtype=torch.float64)
        image[0, channel, 2, 2] = 1
        out = conv(image)[0]
        seen[:, channel] = out[:, 2:5, 2:5] if transposed else out.flip(1, 2)
    for channel in range(6):
        group = channel // 3
        torch.testing.assert_close(seen[channel, 2 * group : 2 * group + 2].reshape(-1), kernel.filters[channel])


def test_kernels_that_layers_share_count_once():
    model = Shared()
    assert [kernel.layer for kernel in find_kernels(model)] == ["a"]
    assert [pair.layer for pair in pair_kernels(model, copy.deepcopy(model))] == ["a"]
    apart = copy.deepcopy(model)
    apart.b.weight = nn.Parameter(apart.a.weight.detach() + 1)
    assert [pair.layer for pair in pair_kernels(model, apart)] == ["a", "b"]


def test_selection_names_kinds_and_layers():
    model = EveryKind()
    assert [kernel.layer for kernel in find_kernels(model, include="depthwise")] == ["depthwise"]
    assert [kernel.layer for kernel in find_kernels(model, include=["pointwise", "stem"])] == ["stem", "pointwise"]
    assert "stem" not in [pair.layer for pair in pair_kernels(model, model, exclude="stem")]


def test_samples_are_seeded_distinct_and_whole_where_they_fit():
    assert sampled(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    chosen = sampled(1000, 10, 3)
    assert len(set(chosen.tolist())) == 10
    assert chosen.tolist() == sorted(chosen.tolist()) == sampled(1000, 10, 3).tolist()
    assert chosen.tolist() != sampled(1000, 10, 4).tolist()


def not_finite(model):
    model.depthwise.weight.data[0, 0, 0, 0] = float("nan")


def without_a_layer(model):
    model.grouped = nn.Identity()


def another_kernel_size(model):
    model.stem = nn.Conv2d(3, 8, 5)


def other_groups(model):
    model.grouped = nn.Conv2d(16, 12, (1, 4), groups=2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (not_finite, r"^depthwise: the kernel has entries that are not finite; load valid weights$"),
        (without_a_layer, r"the same convolutions in both, found 1 only in the first \(grouped\); compare two"),
        (another_kernel_size, r"^stem: .* expected dense \[8, 3, 3, 3\], found dense \[8, 3, 5, 5\]; compare"),
        (other_groups, r"^grouped: the two models differ in this convolution"),
        (refconv.refocus, r"already parametrized by Refocus; analysis reads plain models; refconv.merged"),
        (lambda model: model.to("meta"), r"^stem: the kernel has no values yet; load"),
    ],
    ids=["not-finite", "missing-layer", "kernel-size", "groups", "refocused", "meta"],
)
def test_pairs_that_cannot_be_compared_are_refused_in_one_line(spoil, message):
    before = EveryKind()
    after = copy.deepcopy(before)
    spoil(after)
    with pytest.raises(ModelError, match=message) as caught:
        pair_kernels(before, after)
    assert "\n" not in str(caught.value)


def test_models_without_convolutions_and_things_that_are_no_models_are_refused():
    with pytest.raises(ModelError, match=r"^Linear: nothing to analyse; expected .*, found no convolution$"):
        find_kernels(nn.Linear(2, 2))
    with pytest.raises(ModelError, match=r"found one tap$"):
        find_kernels(nn.Conv2d(2, 2, 1))
    with pytest.raises(ModelError, match=r"expected a torch.nn.Module, found str"):
        pair_kernels(EveryKind(), "model")


def test_kernels_that_something_else_computes_are_refused_and_complex_ones_passed_over():
    with pytest.raises(ModelError, match=r"0: the kernel is computed by _WeightNorm; analysis .*remove_parametriz"):
        find_kernels(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))))
    mixed = nn.Sequential(nn.Conv2d(3, 4, 3, dtype=torch.complex64), nn.Conv2d(4, 4, 3))
    assert [kernel.layer for kernel in find_kernels(mixed)] == ["1"]
    with pytest.raises(ModelError, match="found its weight is complex"):
        find_kernels(mixed[:1])
