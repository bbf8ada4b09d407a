"""Filter normalisation against loops over filters."""

import pytest
import torch
from torch import nn

from networks import EveryKind, Shared
from refconv.analysis.probe import draw, filter_norms, filter_sizes, moved, scaled
from refconv.errors import ModelError


def values_of(model):
    return {name: value.detach().double() for name, value in model.named_parameters()}


def filters(weight, transposed=False, groups=1):
    """Index of every filter, by loops: what makes one output channel."""
    if not transposed:
        return [(out,) for out in range(len(weight))]
    inner, outer = len(weight) // groups, weight.shape[1]
    return [(slice(g * inner, (g + 1) * inner), out) for g in range(groups) for out in range(outer)]


def test_directions_have_filter_by_filter_the_norms_of_the_model():
    torch.manual_seed(0)
    model = EveryKind()
    values = values_of(model)
    direction = scaled(draw(model, values, torch.Generator().manual_seed(0)), filter_norms(model, values))
    layers = ("stem", "depthwise", "grouped", "pointwise", "up", "head")
    assert list(direction) == [f"{layer}.weight" for layer in layers]  # no biases, no norm
    for name, entries in direction.items():
        weight = values[name]
        for where in filters(weight, name == "up.weight", groups=2):
            torch.testing.assert_close(entries[where].norm(), weight[where].norm())
        cosine = (entries * weight).sum() / entries.norm() / weight.norm()
        assert abs(cosine) < 0.6  # a direction of its own, not the weight's
    rows = direction["up.weight"].flatten(1).norm(dim=1)  # the neighbouring rule, of layers that are not transposed
    assert not torch.allclose(rows, values["up.weight"].flatten(1).norm(dim=1), rtol=0.01)


def test_sizes_count_the_entries_of_filters():
    model = EveryKind()
    sizes = {name: size.unique().tolist() for name, size in filter_sizes(model, values_of(model)).items()}
    assert sizes == {
        "stem.weight": [27],
        "depthwise.weight": [25],
        "grouped.weight": [16],
        "pointwise.weight": [12],
        "up.weight": [36],
        "head.weight": [6],
    }


def test_the_same_seed_draws_the_same_direction_and_scale_does_not_matter():
    model = EveryKind()
    values = values_of(model)
    first = draw(model, values, torch.Generator().manual_seed(3))
    large = {name: 5 * value for name, value in values.items()}
    second = draw(model, large, torch.Generator().manual_seed(3))
    other = draw(model, values, torch.Generator().manual_seed(4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_shared_weights_move_once_and_dead_filters_stay():
    model = Shared()
    with torch.no_grad():
        model.a.weight[0] = 0
    values = values_of(model)
    direction = scaled(draw(model, values, torch.Generator().manual_seed(0)), filter_norms(model, values))
    assert list(direction) == ["a.weight"]
    assert not direction["a.weight"][0].any()
    there = moved(values, (0.5, direction), (-0.25, direction))
    torch.testing.assert_close(there["a.weight"], values["a.weight"] + 0.25 * direction["a.weight"])
    assert there["a.bias"] is values["a.bias"]


def test_a_model_without_filters_is_refused():
    with pytest.raises(ModelError, match="BatchNorm2d: the model has no filters to move"):
        filter_norms(nn.BatchNorm2d(3), {})
