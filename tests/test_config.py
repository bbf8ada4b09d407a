"""Configurations: checked when made, the same in both spaces, spelled out once."""

import dataclasses
import subprocess
import sys
import typing

import pytest

import refconv
from networks import EveryKind
from refconv import LowRankConfig, RefocusConfig
from refconv.config import FIELDS, RefocusSettings
from refconv.errors import RefconvError, SettingError
from refconv.methods.registry import method_of
from refconv.parametrizations.refocus import OtherBaseConfig
from refconv.recipe.recipe import Recipe
from refconv.surgery.refocusing import transformed

OTHERS = {
    "map_size": (5, 3),
    "order": "across",
    "start": "kaiming",
    "scale": "paper",
    "power": 0.5,
    "damping": 0.25,
    "include": ("dense", "re:up"),
    "exclude": ("stem",),
    "zeros": "keep",
}


def test_keyword_arguments_have_the_names_and_types_of_the_fields():
    assert typing.get_type_hints(RefocusSettings) == {
        name: hint for name, hint in typing.get_type_hints(RefocusConfig).items() if name not in {"method", "unsaid"}
    }


def test_a_configuration_is_the_same_as_its_fields_alone_in_every_space():
    settings = {"map_size": 5, "scale": "paper", "start": "kaiming", "exclude": "up"}
    config = RefocusConfig(**settings)
    model, other = EveryKind(), EveryKind()
    groups, single = refconv.param_groups(model, config=config), refconv.param_groups(other, **settings)
    assert [(group.get("sites"), group.get("start")) for group in groups] == [
        (group.get("sites"), group.get("start")) for group in single
    ]
    assert any(group.get("start") == "kaiming" for group in groups)
    planned = refconv.plan(model, config)
    assert planned == refconv.plan(model, **settings) != refconv.plan(model)
    assert refconv.refocus(model, config) == refconv.refocus(other, **settings) == planned
    assert [transform.config for _, _, transform in transformed(model)] == [
        transform.config for _, _, transform in transformed(other)
    ]


@pytest.mark.parametrize("call", [refconv.refocus, refconv.plan, refconv.param_groups])
def test_a_configuration_and_single_settings_together_are_refused(call):
    message = "config: given together with scale, power; expected a configuration or single settings; put scale, power"
    with pytest.raises(SettingError, match=message):
        call(EveryKind(), config=RefocusConfig(), scale="paper", power=1.0)


@pytest.mark.parametrize("call", [refconv.refocus, refconv.param_groups])
def test_the_configuration_of_another_method_is_refused(call):
    for config in (LowRankConfig(), refconv.ShuffledConfig(), {"scale": "paper"}):
        message = f"config: not a configuration of this method; expected RefocusConfig, found {type(config).__name__}"
        with pytest.raises(RefconvError, match=message):
            call(EveryKind(), config=config)


def test_a_method_is_a_name_or_a_configuration():
    with pytest.raises(SettingError, match="config: given together with rank"):
        refconv.reparametrize(EveryKind(), LowRankConfig(), rank=2)
    for config in (LowRankConfig, OtherBaseConfig(seed=1), None):
        with pytest.raises(SettingError, match="config: neither a configuration nor the name of a transformation"):
            refconv.reparametrize(EveryKind(), config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"map_size": 4}, "map_size: a map needs a centre; expected odd positive numbers, found 4"),
        ({"map_size": (3, 0)}, "map_size: a map needs a centre; expected odd positive numbers, found 3 x 0"),
        ({"order": "up"}, "order: unknown order; expected contiguous or across or layer or filters, found 'up'"),
        ({"start": 0}, "start: unknown start; expected zeros or kaiming, found 0"),
        ({"scale": 1.0}, "scale: unknown scale; expected capped or normalized or paper, found 1.0"),
        ({"power": -2}, "power: value out of range; expected a number of at least -1, found -2"),
        ({"power": float("nan")}, "power: value out of range; expected a number of at least -1, found nan"),
        ({"power": "1"}, "power: value out of range; expected a number of at least -1, found '1'"),
        ({"power": -1}, "power: a negative .*; expected damping above 0, found power=-1 with damping=0; damping=0.1"),
        ({"damping": -0.1}, "damping: value out of range; expected a number of at least 0, found -0.1"),
        ({"include": 3}, "include: not a pattern; expected a kind, a glob or a regular expression, found 3"),
        ({"exclude": ["re:("]}, r"exclude: 're:\(' is no regular expression; found missing \)"),
    ],
)
def test_values_without_meaning_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        RefocusConfig(**settings)


def test_equal_settings_are_equal_and_have_one_hash():
    first = RefocusConfig(map_size=[3, 3], power=1, include="dense")
    second = RefocusConfig(map_size=(3, 3), power=1.0, include=(pattern for pattern in ["dense"]))
    assert first == second
    assert hash(first) == hash(second)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.power = 2.0


def test_a_recipe_says_every_setting_of_refocusing_and_nothing_is_lost():
    assert set(OTHERS) == set(FIELDS)
    stated = {FIELDS[name]: value for name, value in OTHERS.items()}
    recipe = Recipe(model="test_resnet", data="digits", method="refocus", **stated)
    assert method_of(recipe).config() == RefocusConfig(**OTHERS)
    assert method_of(Recipe(model="test_resnet", data="digits", method="refocus")).config() == RefocusConfig()


def test_configurations_are_made_without_torch():
    code = "import sys, refconv\nrefconv.RefocusConfig(scale='paper')\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_setting_of_a_configuration_is_named_with_the_closest():
    with pytest.raises(SettingError, match=r"^mapsize: refocus has no such setting; .*did you mean map_size\?$"):
        RefocusConfig(mapsize=3)
    with pytest.raises(SettingError, match="map_size: a map needs a centre; expected odd positive numbers, found '3'"):
        RefocusConfig(map_size="3")


def test_a_configuration_in_the_place_of_weight_decay_is_refused():
    with pytest.raises(SettingError, match="weight_decay: not a number; .*RefocusConfig; give a configuration as con"):
        refconv.param_groups(EveryKind(), RefocusConfig())
