"""Any transformation on a model: the same selection, guards and plan as refocusing, which is one of them.

What holds for each transformation is in tests/parametrizations/test_contract.py.
"""

import copy

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import refconv
from networks import EveryKind, Shared, randomise
from refconv.errors import CheckpointError, LayerError, ModelError, SettingError
from refconv.surgery import Plan, file_bytes, plan_of, refocused_state_dict, reparametrize


def test_refocus_is_one_of_them():
    torch.manual_seed(0)
    model, other = EveryKind(), EveryKind()
    settings = {"map_size": 5, "order": "across", "scale": "normalized", "power": 0.5, "exclude": "up"}
    assert refconv.refocus(model, **settings) == reparametrize(other, "refocus", **settings)
    assert str(model) == str(other)
    assert refconv.plan(EveryKind(), **settings) == plan_of(EveryKind(), "refocus", **settings)


def test_kaiming_start_draws_the_same_numbers_from_the_same_seed():
    models = [EveryKind(), EveryKind()]
    for model in models:
        torch.manual_seed(3)
        reparametrize(model, "refocus", start="kaiming")
    states = [{k: v for k, v in refocused_state_dict(m).items() if k.endswith("refocus_weight")} for m in models]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert all(value.any() for value in states[0].values())


def test_selection_decides_as_for_refocusing():
    model = EveryKind()
    plan = reparametrize(model, "density", include=["depthwise", "re:^up$", "pointwise"], exclude="stem")
    assert [row.layer for row in plan.refocused] == ["depthwise", "pointwise", "up"]
    assert [row.extra_parameters for row in plan.refocused] == [25, 1, 9]
    assert all(row.map_size == () for row in plan.rows)
    with pytest.raises(SettingError, match="include: 'deptwise' matches no convolution; did you mean depthwise"):
        reparametrize(EveryKind(), "density", include="deptwise")


def test_plan_is_printed_without_a_column_for_maps_and_round_trips():
    plan = plan_of(EveryKind(), "low_rank", rank=2, exclude="up")
    text = str(plan)
    assert text.splitlines()[0].split() == ["layer", "kind", "kernel", "blocks", "extra", "parameters"]
    assert "3 of 5 kernels of EveryKind are transformed by low_rank" in text
    assert "of the transformation while training" in text
    assert Plan.from_json(plan.to_json()) == plan
    old = {key: value for key, value in refconv.plan(EveryKind()).to_dict().items() if key != "transform"}
    assert Plan.from_dict(old) == refconv.plan(EveryKind())  # records of before there were others


def test_everything_refused_for_refocusing_is_refused_and_nothing_is_touched():
    model = EveryKind()
    nn.init.zeros_(model.up.weight)
    with pytest.raises(LayerError, match="up: the kernel is all zero"):
        reparametrize(model, "low_rank")
    assert type(model.stem) is nn.Conv2d
    with pytest.raises(LayerError, match="a: the kernel is shared with b.weight, which is not chosen"):
        reparametrize(Shared(), "low_rank", include="a")
    with pytest.raises(ModelError, match="reparametrize before torch.compile"):
        reparametrize(torch.compile(Shared(), backend="eager"), "low_rank")
    with pytest.raises(SettingError, match="map_size at stem: map size and kernel differ in dimensions"):
        reparametrize(EveryKind(), "lr_scaled", map_size=(3,))


def test_random_starts_follow_the_global_seed():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = nn.Conv2d(4, 4, 3)
        reparametrize(model, "points")
        states.append(refocused_state_dict(model)["point_positions"].clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"transform": "unheard_of"}, "stem in .*: holds settings of another version.*unknown transformation"),
        ({"rank": 0}, "stem in .*: holds settings of another version.*rank: value out of range"),
        ({"depth": 2}, "stem in .*: holds settings of another version.*depth: low_rank has no such setting"),
        ({"rank": 3}, r"stem.up has another shape; expected \[1, 8, 3\], found \[1, 8, 4\]"),
    ],
)
def test_adapter_with_other_settings_is_refused_and_nothing_is_touched(tmp_path, layer, message):
    import json

    torch.manual_seed(0)
    pretrained = EveryKind()
    model = copy.deepcopy(pretrained)
    reparametrize(model, "low_rank")
    path = tmp_path / "a.safetensors"
    refconv.save_adapter(model, path)
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    layers = json.loads(metadata["sites"])
    layers["stem"].update(layer)
    path.write_bytes(file_bytes(load_file(path), {**metadata, "sites": json.dumps(layers)}))
    with pytest.raises(CheckpointError, match=message):
        refconv.load_adapter(pretrained, path)
    assert type(pretrained.stem) is nn.Conv2d


@pytest.mark.parametrize("scale", ["paper", "normalized"])
def test_adapter_of_before_there_were_others_still_loads(tmp_path, scale):
    import json

    torch.manual_seed(0)
    pretrained = EveryKind().eval()
    model = copy.deepcopy(pretrained)
    refconv.refocus(model, order="across", scale=scale)
    randomise(model)
    path = tmp_path / "a.safetensors"
    refconv.save_adapter(model, path)
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    layers = json.loads(metadata["sites"])
    assert all(layer.pop("transform") == "refocus" for layer in layers.values())
    assert set(layers["stem"]) == {"map_size", "order", "scale", "power", "base"}
    assert {layer.pop("scale") for layer in layers.values()} == {scale}
    for layer in layers.values():
        layer["normalize"] = scale == "normalized"
    path.write_bytes(file_bytes(load_file(path), {**metadata, "sites": json.dumps(layers)}))
    refconv.load_adapter(pretrained, path)
    batch = torch.randn(2, 3, 20, 20)
    assert torch.equal(pretrained(batch), model(batch))
